/** Many files as one zip that is made while it is written: stored, with data descriptors, zip64 where it is needed. */

import { contentOf } from "./download.js";
import { DamagedError } from "./errors.js";
import { makeZip, predictLength } from "./vendor-client-zip.js";

/** How long the zip of these files will be. */
export function zipSize(files) {
  return Number(predictLength(files.map((file) => ({ name: file.path, size: file.size }))));
}

/**
 * The zip as a ReadableStream. All files are read as one sequence of chunks, so that small ones cost no request each;
 * `onContent(size)` hears of each piece of plaintext that went in.
 */
export function zipOf(files, fetchRange, signal, onContent) {
  const pieces = contentOf(files.flatMap((file) => file.chunks), fetchRange, signal);
  async function* contentOfOne(file) {
    for (let i = 0; i < file.chunks.length; i++) {
      const { value, done } = await pieces.next();
      if (done) throw new DamagedError("fewer chunks than files need");
      onContent(value.length);
      yield value;
    }
  }
  return makeZip(
    files.map((file) => ({ name: file.path, lastModified: zipDate(file.modified), input: contentOfOne(file) })),
  );
}

/** A zip's clock begins in 1980 and ends in 2107. */
function zipDate(date) {
  const year = date.getFullYear();
  return year < 1980 || year > 2107 ? new Date(1980, 0, 1) : date;
}
