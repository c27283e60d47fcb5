/** What a link gives: its files and where their chunks lie; nothing in it is believed before it is checked. */

import { decode } from "./cbor.js";
import { CHUNK_SIZE_MAX, CODEC_ZSTD } from "./crypto.js";
import { DamagedError, NewerError } from "./errors.js";

const VERSION = 1;
const SEAL_OVERHEAD = 28;
const PATH_SIZE_MAX = 4096;
/** Numbers below this are whole in a double, whatever is added to them here. */
const NUMBER_MAX = 2 ** 52;

/** The manifest in `bytes`: `{expires, packs, files, size}`, or DamagedError. */
export function readManifest(bytes) {
  const fields = list(decode(bytes));
  if (fields[0] !== VERSION) throw new NewerError("manifest of a later version");
  const [, expires, packs, files] = fields;
  if (fields.length !== 6) refuse();
  for (const pack of list(packs)) binary(pack, 32);
  const entries = list(files).map((file) => readFile(file, packs.length));
  if (new Set(entries.map((file) => file.path)).size !== entries.length) refuse();
  entries.sort((a, b) => comparePaths(a.path, b.path));
  return {
    expires: number(expires),
    packs,
    files: entries,
    size: number(entries.reduce((sum, file) => sum + file.size, 0)),
  };
}

function readFile(fields, packCount) {
  const [path, size, mtime, chunks] = list(fields, 4);
  const file = {
    path: checkPath(path),
    size: number(size),
    modified: readTime(mtime),
    chunks: list(chunks).map((chunk) => readChunk(chunk, packCount)),
  };
  if (file.chunks.reduce((sum, chunk) => sum + chunk.plainSize, 0) !== file.size) refuse();
  return file;
}

function readChunk(fields, packCount) {
  const [pack, offset, size, codec, plainSize, key, hash] = list(fields, 7);
  if (number(pack) >= packCount || number(codec) > CODEC_ZSTD) refuse();
  if (number(plainSize) > CHUNK_SIZE_MAX || number(size) > CHUNK_SIZE_MAX + SEAL_OVERHEAD) refuse();
  if (size < SEAL_OVERHEAD) refuse();
  return { pack, offset: number(offset), size, codec, plainSize, key: binary(key, 32), hash: binary(hash, 32) };
}

/** A path that stays where it is put, whatever unpacks it. */
function checkPath(path) {
  if (typeof path !== "string" || path.length > PATH_SIZE_MAX || /[\0-\x1f\x7f\\]/.test(path)) refuse();
  for (const name of path.split("/")) {
    if (name === "" || name === "." || name === "..") refuse();
  }
  return path;
}

/** Nanoseconds since 1970 as a date; a date that is none is not worth refusing a file for. */
function readTime(value) {
  if (typeof value !== "number" && typeof value !== "bigint") refuse();
  const date = new Date(Number(value) / 1e6);
  return Number.isNaN(date.getTime()) ? new Date(0) : date;
}

function list(value, length = value?.length) {
  if (!Array.isArray(value) || value.length !== length) refuse();
  return value;
}

function number(value) {
  if (typeof value !== "number" || value < 0 || value > NUMBER_MAX) refuse();
  return value;
}

function binary(value, size) {
  if (!(value instanceof Uint8Array) || value.length !== size) refuse();
  return value;
}

function refuse() {
  throw new DamagedError("a manifest that no device makes");
}

const collator = new Intl.Collator(undefined, { numeric: true });

/** As a person looks for them: what stands in one directory together, numbers by value. */
function comparePaths(a, b) {
  const [left, right] = [a.split("/"), b.split("/")];
  for (let i = 0; i < Math.min(left.length, right.length) - 1; i++) {
    const order = collator.compare(left[i], right[i]);
    if (order !== 0) return order;
  }
  return left.length - right.length || collator.compare(left.at(-1), right.at(-1));
}
