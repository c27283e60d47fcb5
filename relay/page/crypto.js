/**
 * The cryptography of a share link, as the page needs it: all of it by WebCrypto, but for the password's hash and zstd.
 * Nothing here knows the network, the screen or the manifest's meaning. Integers are big-endian.
 */

import { concat, isEqual, utf8 } from "./bytes.js";
import { DamagedError, NewerError, WrongPasswordError } from "./errors.js";
import { unzstd } from "./zstd.js";

export const FLAG_PASSWORD = 1;
export const FLAG_UPLOAD = 2;
const FLAGS_ALL = FLAG_PASSWORD | FLAG_UPLOAD;

export const SECRET_SIZE = 32;
export const LINK_ID_SIZE = 16;

const MAGIC = utf8("HFLK");
const FORM = 1;
const HEADER_SIZE = 171;
const SIGNATURE_SIZE = 64;
const SEGMENT_SIZE = 65536 + 16;
const PASSWORD_SIZE_MAX = 1024;
/** A manifest has 64 MiB at most, in segments. */
const BLOB_SIZE_MAX = HEADER_SIZE + SIGNATURE_SIZE + 1024 * SEGMENT_SIZE;
const NONCE_SIZE = 12;
/** The largest content that a device ever seals as one chunk. */
export const CHUNK_SIZE_MAX = 16 << 20;
export const CODEC_RAW = 0;
export const CODEC_ZSTD = 1;

const SIGNATURE_LABEL = utf8("holdfast/1 link\0");
const ID_LABEL = utf8("holdfast/1 link id\0");
const MANIFEST_LABEL = utf8("holdfast/1 link manifest\0");
const SEGMENT_LABEL = utf8("holdfast/1 link segment\0");
const TOKEN_LABEL = utf8("holdfast/1 link token\0");
const CHUNK_LABEL = utf8("holdfast/1 chunk\0");

/** Argon2id's numbers are part of the format: a relay cannot ask for weaker ones. */
export const ARGON2 = { memoryKiB: 65536, passes: 3, lanes: 1, size: 32 };

/** SHA-256. */
export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** HKDF-SHA256. */
export async function hkdf(keyMaterial, salt, info, size) {
  const key = await crypto.subtle.importKey("raw", keyMaterial, "HKDF", false, ["deriveBits"]);
  const bits = await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, key, size * 8);
  return new Uint8Array(bits);
}

/** Argon2id of a password in NFKC; `argon2id` is hash-wasm's. An empty password, or a very long one, is no link's. */
export async function passwordKey(argon2id, password, passwordSalt) {
  const bytes = utf8(password.normalize("NFKC"));
  if (bytes.length === 0 || bytes.length > PASSWORD_SIZE_MAX) throw new WrongPasswordError("not a password");
  return argon2id({
    password: bytes,
    salt: passwordSalt,
    memorySize: ARGON2.memoryKiB,
    iterations: ARGON2.passes,
    parallelism: ARGON2.lanes,
    hashLength: ARGON2.size,
    outputType: "binary",
  });
}

/** What shows the relay that the visitor has secret and password; it opens nothing. */
export async function linkToken(secret, passwordHash, linkId, passwordSalt) {
  return hkdf(concat(secret, passwordHash), concat(linkId, passwordSalt), TOKEN_LABEL, 32);
}

/** The parts of a link's blob whose signature and hash were right, or DamagedError. */
export async function verifyBlob(blob, linkId) {
  const isShort = blob.length <= HEADER_SIZE + SIGNATURE_SIZE + 16;
  if (isShort || blob.length > BLOB_SIZE_MAX || !isEqual(blob.subarray(0, 4), MAGIC)) {
    throw new DamagedError("not a link's blob");
  }
  if (blob[4] !== FORM || blob[5] & ~FLAGS_ALL) throw new NewerError("a blob of a later version");
  const header = blob.subarray(0, HEADER_SIZE);
  const signature = blob.subarray(HEADER_SIZE, HEADER_SIZE + SIGNATURE_SIZE);
  const segments = blob.subarray(HEADER_SIZE + SIGNATURE_SIZE);
  const publicKey = header.subarray(74, 139);
  // In this order: the id pins the key, the key signed the header, the header pins the segments.
  if (!isEqual(await linkIdOf(publicKey), linkId)) throw new DamagedError("the key of another link");
  await verifySignature(publicKey, signature, concat(SIGNATURE_LABEL, header));
  if (!isEqual(await sha256(segments), header.subarray(139))) throw new DamagedError("other segments");
  return {
    flags: header[5],
    version: new DataView(header.buffer, header.byteOffset).getUint32(6),
    salt: header.subarray(10, 42),
    commitment: header.subarray(42, 74),
    segments,
  };
}

/** What a blob that was opened says of its link. */
export function blobFlags(blob) {
  return blob[5];
}

/** The id of the link that has this key. */
export async function linkIdOf(publicKey) {
  return (await sha256(concat(ID_LABEL, publicKey))).subarray(0, LINK_ID_SIZE);
}

async function verifySignature(publicKey, signature, signed) {
  const curve = { name: "ECDSA", namedCurve: "P-256" };
  let isRight = false;
  try {
    const key = await crypto.subtle.importKey("raw", publicKey, curve, false, ["verify"]);
    isRight = await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, signed);
  } catch {
    // Not a point of the curve: a link whose key was made up.
  }
  if (!isRight) throw new DamagedError("a signature that is not the link's");
}

/** The manifest's bytes, or DamagedError; a wrong secret or password shows before anything is opened. */
export async function openBlob(blob, linkId, secret, passwordHash) {
  const { flags, salt, commitment, segments } = await verifyBlob(blob, linkId);
  if (Boolean(flags & FLAG_PASSWORD) !== passwordHash.length > 0) throw new DamagedError("a password too many or too few");
  const keys = await manifestKeys(secret, passwordHash, linkId, flags, salt);
  if (!isEqual(keys.commitment, commitment)) throw new DamagedError("sealed under another secret");
  return openSegments(keys.key, keys.base, linkId, segments);
}

/** How one sealing of a manifest is opened: its key, where its nonces begin, and the commitment to both. */
export async function manifestKeys(secret, passwordHash, linkId, flags, salt) {
  const info = concat(MANIFEST_LABEL, linkId, Uint8Array.of(flags));
  const material = await hkdf(concat(secret, passwordHash), salt, info, 76);
  return { key: material.subarray(0, 32), base: material.subarray(32, 44), commitment: material.subarray(44) };
}

async function openSegments(keyBytes, base, linkId, segments) {
  const key = await crypto.subtle.importKey("raw", keyBytes, "AES-GCM", false, ["decrypt"]);
  const additionalData = concat(SEGMENT_LABEL, linkId);
  const count = Math.ceil(segments.length / SEGMENT_SIZE);
  const pieces = [];
  for (let i = 0; i < count; i++) {
    const iv = segmentNonce(base, i, i === count - 1);
    const sealed = segments.subarray(i * SEGMENT_SIZE, (i + 1) * SEGMENT_SIZE);
    pieces.push(await openGcm(key, iv, additionalData, sealed));
  }
  return concat(...pieces);
}

/** The number of the segment and whether it is the last are in the nonce: none can be moved, dropped or added. */
export function segmentNonce(base, number, isLast) {
  const counter = new Uint8Array(NONCE_SIZE);
  new DataView(counter.buffer).setBigUint64(4, (BigInt(number) << 1n) | BigInt(isLast));
  return base.map((byte, i) => byte ^ counter[i]);
}

async function openGcm(key, iv, additionalData, sealed) {
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, key, sealed));
  } catch {
    throw new DamagedError("a tag that does not fit");
  }
}

/**
 * The plaintext of one chunk, or DamagedError. The hash comes first: whoever has the chunk's key, together with the
 * relay, could make other ciphertext that opens.
 */
export async function openChunk(chunk, sealed) {
  if (!isEqual(await sha256(sealed), chunk.hash)) throw new DamagedError("a chunk that is not the one that was shared");
  const key = await crypto.subtle.importKey("raw", chunk.key, "AES-GCM", false, ["decrypt"]);
  const aad = new Uint8Array(CHUNK_LABEL.length + 5);
  aad.set(CHUNK_LABEL);
  aad[CHUNK_LABEL.length] = chunk.codec;
  new DataView(aad.buffer).setUint32(CHUNK_LABEL.length + 1, chunk.plainSize);
  const payload = await openGcm(key, sealed.subarray(0, NONCE_SIZE), aad, sealed.subarray(NONCE_SIZE));
  if (chunk.codec === CODEC_ZSTD) return unzstd(payload, chunk.plainSize);
  if (chunk.codec !== CODEC_RAW || payload.length !== chunk.plainSize) throw new DamagedError("a chunk of another length");
  return payload;
}
