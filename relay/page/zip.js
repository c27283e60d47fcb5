/** Many files as one zip that is made while it is written: stored, with data descriptors, zip64 where it is needed. */

import { contentOf } from "./download.js";
import { DamagedError } from "./errors.js";
import { makeZip, predictLength } from "./vendor-client-zip.js";

/** An entry of a zip's directory is shorter. */
const SMALL = 1 << 16;

/** How long the zip of these files and empty directories will be. */
export function zipSize(files, directories) {
  const entries = [...files.map((file) => ({ name: file.path, size: file.size })), ...directories.map(directoryEntry)];
  return Number(predictLength(entries));
}

/**
 * The zip, piece by piece. All files are read as one sequence of chunks, so that small ones cost no request each;
 * `onContent(size)` hears of each piece of plaintext that went in.
 */
export function zipOf(files, directories, fetchRange, signal, onContent) {
  const pieces = contentOf(files.flatMap((file) => file.chunks), fetchRange, signal);
  async function* contentOfOne(file) {
    for (let i = 0; i < file.chunks.length; i++) {
      const { value, done } = await pieces.next();
      if (done) throw new DamagedError("fewer chunks than files need");
      onContent(value.length);
      yield value;
    }
  }
  const entries = files.map((file) => ({
    name: file.path,
    lastModified: zipDate(file.modified),
    input: contentOfOne(file),
  }));
  return piecesOf(makeZip([...entries, ...directories.map(directoryEntry)]));
}

/** Not every browser can iterate over a stream. */
async function* piecesOf(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      // client-zip looks at the small things that it made itself once more, and a sink takes what it is given.
      yield value.length < SMALL ? value.slice() : value;
    }
  } finally {
    reader.cancel().catch(() => {}); // if it has failed, that was told by `read`
  }
}

function directoryEntry(directory) {
  return { name: directory.path, lastModified: zipDate(directory.modified) };
}

/** A zip's clock begins in 1980 and ends in 2107. */
function zipDate(date) {
  const year = date.getFullYear();
  return year >= 1980 && year <= 2107 ? date : new Date(1980, 0, 1);
}
