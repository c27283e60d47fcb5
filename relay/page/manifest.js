/** What a link gives: its files and where their chunks lie; nothing in it is believed before it is checked. */

import { decode } from "./cbor.js";
import { CHUNK_SIZE_MAX, CODEC_ZSTD } from "./crypto.js";
import { DamagedError, NewerError } from "./errors.js";
import { foldKey, isPathAllowed } from "./names.js";
import { baseName } from "./words.js";

const VERSION = 1;
const SEAL_OVERHEAD = 28;
const PACK_SIZE_MAX = 18 << 20;
const UPLOAD_KEY_SIZE = 65;

/**
 * The manifest in `bytes`, or DamagedError: `expires` in seconds since 1970 or 0, the `packs`' ids, the `files` in the
 * order in which a person looks for them, the empty `directories`, and what the whole is called.
 */
export function readManifest(bytes) {
  const fields = list(decode(bytes));
  if (typeof fields[0] === "number" && fields[0] > VERSION) throw new NewerError("a manifest of a later version");
  const [version, expires, packs, entries, uploadKey, sizeMax] = list(fields, 6);
  if (version !== VERSION) refuse("no manifest");
  for (const pack of list(packs)) binary(pack, 32);
  if (new Set(packs.map(String)).size !== packs.length) refuse("a pack is named twice");
  if (uploadKey !== null && (binary(uploadKey, UPLOAD_KEY_SIZE), list(entries).length > 0)) refuse("gives and takes");
  number(sizeMax);
  const all = list(entries).map((entry) => readFile(entry, packs.length));
  checkPaths(all);
  const files = all.filter((file) => !file.isDirectory).sort((a, b) => comparePaths(a.path, b.path));
  return {
    expires: number(expires),
    packs,
    files,
    directories: all.filter((file) => file.isDirectory),
    name: nameOf(all),
    size: number(files.reduce((sum, file) => sum + file.size, 0)),
  };
}

/** What the whole is called: the one file, the directory that all is in, or nothing. */
function nameOf(files) {
  if (files.length === 1 && !files[0].isDirectory) return baseName(files[0].path);
  const tops = new Set(files.map((file) => file.path.split("/", 1)[0]));
  return tops.size === 1 ? [...tops][0] : "";
}

function readFile(fields, packCount) {
  const [path, size, modified, chunks] = list(fields, 4);
  if (typeof path !== "string") refuse("no path");
  if (typeof modified !== "number") refuse("no time");
  const file = {
    path,
    isDirectory: path.endsWith("/"),
    size: number(size),
    modified: new Date(modified),
    chunks: list(chunks).map((chunk) => readChunk(chunk, packCount)),
  };
  if (file.chunks.reduce((sum, chunk) => sum + chunk.plainSize, 0) !== file.size) refuse("a size that is not so");
  if (file.isDirectory && file.chunks.length > 0) refuse("a directory with contents");
  return file;
}

function readChunk(fields, packCount) {
  const [pack, offset, size, codec, plainSize, key, hash] = list(fields, 7);
  if (
    number(pack) >= packCount ||
    number(size) < SEAL_OVERHEAD ||
    size > CHUNK_SIZE_MAX + SEAL_OVERHEAD ||
    number(offset) > PACK_SIZE_MAX - size ||
    number(codec) > CODEC_ZSTD ||
    number(plainSize) < 1 ||
    plainSize > CHUNK_SIZE_MAX
  ) {
    refuse("a chunk out of bounds");
  }
  return { pack, offset, size, codec, plainSize, key: binary(key, 32), hash: binary(hash, 32) };
}

/** Each path stays inside what it is unpacked into, and no two of them meet on any disk. */
function checkPaths(files) {
  const taken = new Set();
  const parents = new Set();
  for (const file of files) {
    const path = file.isDirectory ? file.path.slice(0, -1) : file.path;
    if (!isPathAllowed(path)) refuse("a path that could do harm");
    const folded = foldKey(path);
    if (taken.has(folded)) refuse("two files of one path");
    taken.add(folded);
    for (let at = folded.lastIndexOf("/"); at > 0; at = folded.lastIndexOf("/", at - 1)) {
      const parent = folded.slice(0, at);
      if (parents.has(parent)) break; // and so are those above it
      parents.add(parent);
    }
  }
  for (const path of taken) {
    if (parents.has(path)) refuse("a path through a file");
  }
}

function list(value, length = value?.length) {
  if (!Array.isArray(value) || value.length !== length) refuse("no list");
  return value;
}

function number(value) {
  if (typeof value !== "number" || value < 0) refuse("no number"); // the decoder gives a double no number it cannot hold
  return value;
}

function binary(value, size) {
  if (!(value instanceof Uint8Array) || value.length !== size) refuse("no bytes of that length");
  return value;
}

function refuse(reason) {
  throw new DamagedError(reason);
}

const collator = new Intl.Collator(undefined, { numeric: true });

/** What stands in one directory together, files before directories, numbers by value. */
function comparePaths(a, b) {
  const [left, right] = [a.split("/"), b.split("/")];
  for (let i = 0; i < Math.min(left.length, right.length) - 1; i++) {
    const order = collator.compare(left[i], right[i]);
    if (order !== 0) return order;
  }
  return left.length - right.length || collator.compare(left.at(-1), right.at(-1));
}
