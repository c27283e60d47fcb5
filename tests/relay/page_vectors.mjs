/**
 * Runs the page's own modules against the vectors that the Python side is held to.
 * Reads `{page, vectors}` from the standard input, the page as a folder and each vector with its bytes in hex, and
 * writes for each what came out, in hex, or the kind of the error.
 */

import { webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { page, vectors } = JSON.parse(readFileSync(0));
const load = (name) => import(pathToFileURL(`${page}/${name}`));

globalThis.crypto ??= webcrypto; // as browsers have it; Node 18 does not yet
await load("vendor-argon2.js");
const link = await load("crypto.js");
const { DamagedError, LinkError } = await load("errors.js");
const { readChunkPage, readFilePage, readManifest, shared } = await load("manifest.js");
const upload = await load("upload_crypto.js");
const { unzstd } = await load("zstd.js");

const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");

async function passwordOf({ passphrase, password_salt: salt }) {
  if (passphrase === undefined) return new Uint8Array(0);
  return link.passwordKey(globalThis.hashwasm.argon2id, passphrase, bytes(salt));
}

async function open(i) {
  return link.openBlob(bytes(i.blob), bytes(i.link_id), bytes(i.secret), await passwordOf(i));
}

const PLAIN_HEAD = vectors["crypto/upload_head"].output;
const PLAIN_SEGMENT = vectors["crypto/upload_segment"].output;
const PUBLIC_KEY = bytes(vectors["crypto/upload_head"].input.public);
const uploadOf = (i) => [i.public, i.link_id, i.upload_id, i.gate].map((text) => bytes(text ?? ""));

async function pairOf(i) {
  const curve = { name: "ECDH", namedCurve: "P-256" };
  const raw = Buffer.from(i.ephemeral_public, "hex");
  const [d, x, y] = [Buffer.from(i.ephemeral, "hex"), raw.subarray(1, 33), raw.subarray(33)].map((b) => b.toString("base64url"));
  const jwk = { kty: "EC", crv: "P-256", x, y, d };
  return {
    privateKey: await crypto.subtle.importKey("jwk", jwk, curve, false, ["deriveBits"]),
    publicKey: await crypto.subtle.importKey("raw", raw, curve, true, []),
  };
}

const OPERATIONS = {
  "share link id": async (i) => hex(await link.linkIdOf(bytes(i.public))),
  "share link keys": async (i) => {
    const args = [bytes(i.secret), await passwordOf(i), bytes(i.link_id), i.flags, bytes(i.salt)];
    const { key, base, commitment } = await link.manifestKeys(...args);
    return [key, base, commitment].map(hex);
  },
  "share link token": async (i) =>
    hex(await link.linkToken(bytes(i.secret), await passwordOf(i), bytes(i.link_id), bytes(i.password_salt))),
  "open share link": async (i) => hex(await open(i)),
  "open long share link": async (i) => hex(await link.sha256(await open(i))),
  "open shared chunk": async (i) => {
    const chunk = { hash: bytes(i.sealed_hash), key: bytes(i.key), codec: i.codec, plainSize: i.plain_len };
    return hex(await link.openChunk(chunk, bytes(i.sealed)));
  },
  "upload gate": async (i) =>
    hex(await upload.uploadGate(bytes(i.secret), await passwordOf(i), bytes(i.link_id), bytes(i.password_salt))),
  // The page seals and opens nothing: what it makes of the same keys has to be what is to be opened.
  "open upload head": async (i) => {
    const { head } = await upload.sealHead(...uploadOf(i), bytes(PLAIN_HEAD), bytes(i.seed), await pairOf(i));
    if (hex(head) !== i.head) throw new DamagedError("another head");
    return PLAIN_HEAD;
  },
  "open upload segment": async (i) => {
    const { sealer } = await upload.sealHead(PUBLIC_KEY, ...uploadOf(i).slice(1), bytes(""), bytes(i.seed));
    if (hex(await sealer.seal(i.index, bytes(PLAIN_SEGMENT), i.is_last)) !== i.sealed) throw new DamagedError("another segment");
    return PLAIN_SEGMENT;
  },
  decompress: async (i) => hex(unzstd(bytes(i.data), i.plain_len)),
  "decode link manifest": async (i) => {
    const { entries } = readManifest(bytes(i.manifest));
    return entries.map((file) => file.path).sort();
  },
  "expand link pages": async (i) => {
    const manifest = readManifest(bytes(i.manifest));
    const pages = i.pages.map(bytes);
    for (const file of manifest.entries) {
      if (file.pages.length > 0) readChunkPage(file, pages.splice(0, file.pages.length), manifest);
    }
    const below = manifest.pages.flatMap(({ prefix }) => readFilePage(pages.shift(), manifest, prefix));
    const { files, directories } = shared(manifest, [...manifest.entries, ...below]);
    return [...files, ...directories]
      .map((file) => `${file.path} ${file.chunks.reduce((sum, chunk) => sum + chunk.plainSize, 0)}`)
      .sort();
  },
};

const results = {};
for (const [name, vector] of Object.entries(vectors)) {
  try {
    results[name] = { output: await OPERATIONS[vector.operation](vector.input) };
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    results[name] = { error: error.kind };
  }
}
process.stdout.write(JSON.stringify({ operations: Object.keys(OPERATIONS), results }));
