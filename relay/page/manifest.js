/** What a link gives: its files and where their chunks lie; nothing in it is believed before it is checked. */

import { decode } from "./cbor.js";
import { CHUNK_SIZE_MAX, CODEC_ZSTD } from "./crypto.js";
import { DamagedError, NewerError } from "./errors.js";
import { foldKey, isPathAllowed } from "./names.js";
import { baseName } from "./words.js";

const VERSION = 1;
const PAGED = 2;
const PAGE_VERSION = 1;
const PAGE_SIZE_MAX = 1 << 20;
const PAGES_SIZE_MAX = 64 << 20;
const SEAL_OVERHEAD = 28;
const PACK_SIZE_MAX = 18 << 20;
const UPLOAD_KEY_SIZE = 65;

/**
 * The manifest in `bytes`, or DamagedError: `expires` in seconds since 1970 or 0, the `packs`' ids, the `entries` that it
 * lists itself, and the `pages` in which others are.
 */
export function readManifest(bytes) {
  const fields = list(decode(bytes));
  if (typeof fields[0] === "number" && fields[0] > PAGED) throw new NewerError("a manifest of a later version");
  const [version, expires, packs, entries] = fields;
  if (version !== VERSION && version !== PAGED) refuse("no manifest");
  readPacks(packs);
  let pages = [];
  if (version === PAGED) {
    pages = list(list(fields, 5)[4]).map((page) => readPage(page, packs.length));
  } else {
    const [, , , , uploadKey, sizeMax] = list(fields, 6);
    if (uploadKey !== null && (binary(uploadKey, UPLOAD_KEY_SIZE), list(entries).length > 0)) refuse("gives and takes");
    number(sizeMax);
  }
  const readEntry = version === PAGED ? readPagedFile : readFile;
  const all = list(entries).map((entry) => readEntry(entry, packs.length));
  const every = [...all.flatMap((file) => file.pages), ...pages.map((page) => page.chunk)];
  if ((version === PAGED) !== every.length > 0) refuse("pages that there are not");
  const size = every.reduce((sum, page) => sum + page.plainSize, 0);
  if (every.some((page) => page.plainSize > PAGE_SIZE_MAX) || size > PAGES_SIZE_MAX) refuse("too many pages");
  checkPaths(all);
  return { expires: number(expires), packs, entries: all, pages };
}

/**
 * What a manifest gives, once all its entries are known: the `files` in the order in which a person looks for them, the
 * empty `directories`, and what the whole is called.
 */
export function shared(manifest, all) {
  checkPaths(all);
  const files = all.filter((file) => !file.isDirectory).sort((a, b) => comparePaths(a.path, b.path));
  return {
    expires: manifest.expires,
    packs: manifest.packs,
    files,
    directories: all.filter((file) => file.isDirectory),
    name: nameOf(all),
    size: number(files.reduce((sum, file) => sum + file.size, 0)),
  };
}

/** The files of a page, below its directory; the manifest learns of packs that it had not named. */
export function readFilePage(bytes, manifest, prefix) {
  const [version, packs, entries, none] = list(decode(bytes), 4);
  if (version !== PAGE_VERSION || none !== null || list(entries).length === 0) refuse("no page of files");
  const numbers = numbersOf(packs, manifest);
  const files = entries.map((entry) => readFile(entry, packs.length));
  checkPaths(files);
  for (const file of files) {
    file.path = `${prefix}/${file.path}`;
    for (const chunk of file.chunks) chunk.pack = numbers[chunk.pack];
  }
  return files;
}

/** Has a large file know its chunks, by all its pages. */
export function readChunkPage(file, pages, manifest) {
  const chunks = pages.flatMap((bytes) => {
    const [version, packs, none, items] = list(decode(bytes), 4);
    if (version !== PAGE_VERSION || none !== null || list(items).length === 0) refuse("no page of chunks");
    const numbers = numbersOf(packs, manifest);
    const read = items.map((item) => readChunk(item, packs.length));
    for (const chunk of read) chunk.pack = numbers[chunk.pack];
    return read;
  });
  if (chunks.reduce((sum, chunk) => sum + chunk.plainSize, 0) !== file.size) refuse("a size that is not so");
  file.chunks = chunks;
  file.pages = [];
}

function readPacks(packs) {
  for (const pack of list(packs)) binary(pack, 32);
  if (new Set(packs.map(String)).size !== packs.length) refuse("a pack is named twice");
}

/** What the manifest counts the packs by that a page counts from 0. */
function numbersOf(packs, manifest) {
  readPacks(packs);
  manifest.numbers ??= new Map(manifest.packs.map((pack, i) => [String(pack), i]));
  return packs.map((pack) => {
    const name = String(pack);
    if (!manifest.numbers.has(name)) manifest.numbers.set(name, manifest.packs.push(pack) - 1);
    return manifest.numbers.get(name);
  });
}

function readPage(fields, packCount) {
  const [prefix, chunk] = list(fields, 2);
  if (typeof prefix !== "string" || !isPathAllowed(prefix)) refuse("a path that could do harm");
  return { prefix, chunk: readChunk(chunk, packCount) };
}

function readPagedFile(fields, packCount) {
  const [path, size, modified, chunks, pages] = list(fields, 5);
  if (list(pages).length === 0) return readFile([path, size, modified, chunks], packCount);
  const file = readFile([path, 0, modified, chunks], packCount);
  if (file.isDirectory || number(size) === 0) refuse("pages of a file in which there is nothing");
  return { ...file, size, pages: pages.map((page) => readChunk(page, packCount)) };
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
    pages: [],
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
