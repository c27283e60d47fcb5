/**
 * Reads the strict CBOR of a manifest: arrays, unsigned and negative whole numbers, bytes, text and null, each in its
 * one shortest form, of known length. It does not read maps, tags, floats, or anything that could be written in two ways.
 */

import { DamagedError } from "./errors.js";

/** A manifest nests five deep; one more is for a later field. */
const DEPTH_MAX = 6;

const UNSIGNED = 0;
const NEGATIVE = 1;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const NULL = 0xf6;

/** The one item that `bytes` is, or DamagedError. Numbers beyond 2^53 come as BigInt; byte strings are views. */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const item = reader.item(0);
  if (reader.at !== bytes.length) throw new DamagedError("bytes after the end");
  return item;
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    this.at = 0;
  }

  item(depth) {
    if (depth > DEPTH_MAX) throw new DamagedError("nested too deep");
    this.need(1);
    const first = this.bytes[this.at++];
    if (first === NULL) return null;
    const kind = first >> 5;
    if (kind > ARRAY) throw new DamagedError("a kind that no manifest has");
    const value = this.argument(first & 31);
    if (kind === UNSIGNED) return value;
    if (kind === NEGATIVE) return typeof value === "bigint" ? -1n - value : -1 - value;
    return kind === ARRAY ? this.array(value, depth) : this.string(kind, value);
  }

  array(count, depth) {
    this.need(count); // every item has at least one byte, so a false count costs nothing
    const items = [];
    for (let i = 0; i < count; i++) items.push(this.item(depth + 1));
    return items;
  }

  string(kind, size) {
    this.need(size);
    const piece = this.bytes.subarray(this.at, this.at + size);
    this.at += size;
    if (kind === BYTES) return piece;
    try {
      return this.text.decode(piece);
    } catch {
      throw new DamagedError("text that is not UTF-8");
    }
  }

  /** The number behind the first byte, which must not fit a shorter form. */
  argument(short) {
    if (short < 24) return short;
    if (short > 27) throw new DamagedError("an indefinite length");
    const size = 1 << (short - 24);
    this.need(size);
    const at = this.at;
    this.at += size;
    const value = [
      () => this.view.getUint8(at),
      () => this.view.getUint16(at),
      () => this.view.getUint32(at),
      () => this.view.getBigUint64(at),
    ][short - 24]();
    const least = [24, 0x100, 0x10000, 0x100000000n][short - 24];
    if (value < least) throw new DamagedError("a number that is not in its shortest form");
    return typeof value === "bigint" && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  }

  need(size) {
    if (size > this.bytes.length - this.at) throw new DamagedError("ends too early");
  }
}
