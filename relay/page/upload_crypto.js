/**
 * How a file is sealed to the maker of an upload link: HPKE (RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256),
 * HKDF-SHA256, AES-256-GCM) for a seed, and AES-256-GCM in segments under keys of that seed and of what the URL holds.
 * Nothing here knows the network or the screen. Integers are big-endian.
 */

import { concat, utf8 } from "./bytes.js";
import { hkdf, segmentNonce } from "./crypto.js";
import { DamagedError } from "./errors.js";

export const UPLOAD_ID_SIZE = 16;
export const SEED_SIZE = 32;
export const SEGMENT_SIZE = 1 << 20;
export const BATCH_ID_SIZE = 16;
const TAG_SIZE = 16;
const HEAD_STEP = 256;
const HEAD_PLAIN_MAX = 16 * HEAD_STEP;

const UPLOAD_LABEL = utf8("holdfast/1 upload\0");
const GATE_LABEL = utf8("holdfast/1 upload gate\0");
const FILE_LABEL = utf8("holdfast/1 upload file\0");
const HEAD_LABEL = utf8("holdfast/1 upload head\0");
const SEGMENT_LABEL = utf8("holdfast/1 upload segment\0");

const CURVE = { name: "ECDH", namedCurve: "P-256" };
const KEM = concat(utf8("KEM"), Uint8Array.of(0, 0x10));
const SUITE = concat(utf8("HPKE"), Uint8Array.of(0, 0x10, 0, 1, 0, 2));
const NOTHING = new Uint8Array(0);

/** What those who have the URL, and the password if there is one, share, and the relay does not know. */
export function uploadGate(secret, passwordHash, linkId, passwordSalt) {
  return hkdf(concat(secret, passwordHash), concat(linkId, passwordSalt), GATE_LABEL, 32);
}

/** How many segments a file of so many bytes is; an empty one has its end. */
export function segmentCount(size) {
  return Math.max(1, Math.ceil(size / SEGMENT_SIZE));
}

/** The bytes of a list of whole numbers, texts and bytes, as strict CBOR. */
export function encodeList(items) {
  return concat(prefix(4, items.length), ...items.map(encodeItem));
}

function encodeItem(item) {
  if (typeof item === "number") return prefix(0, item);
  const bytes = typeof item === "string" ? utf8(item) : item;
  return concat(prefix(typeof item === "string" ? 3 : 2, bytes.length), bytes);
}

/** The first bytes of an item, in their shortest form. */
function prefix(kind, value) {
  if (value < 24) return Uint8Array.of((kind << 5) | value);
  const size = value < 0x100 ? 1 : value < 0x10000 ? 2 : value < 0x100000000 ? 4 : 8;
  const bytes = new Uint8Array(1 + size);
  bytes[0] = (kind << 5) | (24 + Math.log2(size));
  const number = new DataView(new ArrayBuffer(8));
  number.setBigUint64(0, BigInt(value));
  bytes.set(new Uint8Array(number.buffer, 8 - size), 1);
  return bytes;
}

/**
 * What begins an upload, and what seals its segments. `plain` are the head's bytes; `pair` is for tests alone: else
 * each head has a key pair of its own.
 */
export async function sealHead(publicKey, linkId, uploadId, gate, plain, seed, pair = null) {
  if (plain.length > HEAD_PLAIN_MAX - 2) throw new DamagedError("a head that is too long");
  const wrapped = await wrap(publicKey, concat(UPLOAD_LABEL, linkId, uploadId), seed, pair);
  const keys = await hkdf(concat(seed, gate), concat(linkId, uploadId), FILE_LABEL, 76);
  const headKey = await aesKey(keys.subarray(44));
  const padded = new Uint8Array(Math.ceil((plain.length + 2) / HEAD_STEP) * HEAD_STEP);
  new DataView(padded.buffer).setUint16(0, plain.length);
  padded.set(plain, 2);
  const aad = concat(HEAD_LABEL, linkId, uploadId);
  const sealed = await seal(headKey, new Uint8Array(12), aad, padded);
  const sealer = new SegmentSealer(await aesKey(keys.subarray(0, 32)), keys.slice(32, 44), linkId, uploadId);
  return { head: concat(wrapped, sealed), sealer };
}

/**
 * Seals a file's segments, each where it belongs: none can be moved, dropped or added. Of one file a segment is sealed
 * under its number, so another content under the same key would give both away: who goes on compares first.
 */
export class SegmentSealer {
  constructor(key, base, linkId, uploadId) {
    this.key = key;
    this.base = base;
    this.aad = concat(SEGMENT_LABEL, linkId, uploadId);
  }

  seal(index, plain, isLast) {
    return seal(this.key, segmentNonce(this.base, index, isLast), this.aad, plain);
  }
}

/** The bytes that a file of so many becomes. */
export function sealedSize(size) {
  return size + segmentCount(size) * TAG_SIZE;
}

async function aesKey(bytes) {
  return crypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt"]);
}

async function seal(key, iv, additionalData, plain) {
  return new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData }, key, plain));
}

/** HPKE's single shot: the encapsulated key and the ciphertext. */
async function wrap(publicKey, info, plain, pair) {
  const { privateKey, publicKey: own } = pair ?? (await crypto.subtle.generateKey(CURVE, false, ["deriveBits"]));
  const enc = new Uint8Array(await crypto.subtle.exportKey("raw", own));
  let dh;
  try {
    const recipient = await crypto.subtle.importKey("raw", publicKey, CURVE, false, []);
    dh = new Uint8Array(await crypto.subtle.deriveBits({ name: "ECDH", public: recipient }, privateKey, 256));
  } catch {
    throw new DamagedError("a key that is no point of the curve");
  }
  const shared = await labeledExpand(KEM, await labeledExtract(KEM, NOTHING, "eae_prk", dh), "shared_secret", concat(enc, publicKey), 32);
  const mode = Uint8Array.of(0);
  const context = concat(mode, await labeledExtract(SUITE, NOTHING, "psk_id_hash", NOTHING), await labeledExtract(SUITE, NOTHING, "info_hash", info));
  const secret = await labeledExtract(SUITE, shared, "secret", NOTHING);
  const key = await aesKey(await labeledExpand(SUITE, secret, "key", context, 32));
  const nonce = await labeledExpand(SUITE, secret, "base_nonce", context, 12);
  return concat(enc, await seal(key, nonce, NOTHING, plain));
}

async function labeledExtract(suite, salt, label, ikm) {
  return hmac(salt, concat(utf8("HPKE-v1"), suite, utf8(label), ikm));
}

/** At most one block of it is ever needed here. */
async function labeledExpand(suite, prk, label, info, size) {
  const whole = await hmac(prk, concat(Uint8Array.of(0, size), utf8("HPKE-v1"), suite, utf8(label), info, Uint8Array.of(1)));
  return whole.subarray(0, size);
}

async function hmac(key, data) {
  // An empty key is one of zeros to HMAC, and nothing to WebCrypto.
  const bytes = key.length === 0 ? new Uint8Array(32) : key;
  const imported = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, data));
}
