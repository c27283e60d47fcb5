/** Saves one file, or all as a zip: from the packs to a sink, with the progress shown and an end in words. */

import { contentOf } from "./download.js";
import { DamagedError, StoppedError } from "./errors.js";
import { Rate } from "./rate.js";
import { openSink } from "./saving.js";
import { baseName, savedName } from "./words.js";
import { zipOf, zipSize } from "./zip.js";

/** More often is not seen, and costs. */
const SHOWN_EVERY_MS = 150;

/** Saves one file. To be called in the click itself; returns whether it is known to be on the disk. */
export function saveFile(file, source, place) {
  const name = savedName(baseName(file.path));
  return run(place, { name, size: file.size, total: file.size }, async function* (signal, onContent) {
    await source.withChunks([file], signal);
    yield* counted(contentOf(file.chunks, source.fetchRange, signal), onContent);
  });
}

/** Saves all files and empty directories as one zip; for the rest as `saveFile`. */
export function saveZip({ name, files, directories, size: total }, source, place) {
  const size = zipSize(files, directories);
  return run(place, { name: `${savedName(name || "files")}.zip`, size, total }, async function* (signal, onContent) {
    await source.withChunks(files, signal);
    yield* zipOf(files, directories, source.fetchRange, signal, onContent);
  });
}

async function* counted(pieces, onContent) {
  for await (const piece of pieces) {
    onContent(piece.length);
    yield piece;
  }
}

/** `size` is what is written, `total` what it holds of the files' own bytes, which is what a person counts in. */
async function run(place, { name, size, total }, open) {
  place.prepare();
  const sink = await openSink(name, size);
  const stop = new AbortController();
  const stay = (event) => event.preventDefault();
  addEventListener("beforeunload", stay);
  // A phone that goes to sleep ends its downloads.
  const awake = await navigator.wakeLock?.request("screen").catch(() => null);
  place.begin(() => {
    stop.abort(new StoppedError("by the person"));
    sink.interrupt(stop.signal.reason);
  });
  try {
    const written = await pour(open, sink, total, place, stop.signal);
    if (written !== size) throw new DamagedError("another length than was said");
    await sink.close();
  } catch (error) {
    await sink.abort();
    throw error;
  } finally {
    removeEventListener("beforeunload", stay);
    await awake?.release().catch(() => null);
  }
  return sink.isKnownSaved;
}

async function pour(open, sink, total, place, signal) {
  const rate = new Rate(total, performance.now());
  let [done, written, shown] = [0, 0, 0];
  const pieces = open(signal, (size) => {
    done += size;
  });
  for await (const piece of pieces) {
    signal.throwIfAborted();
    written += piece.length; // before the sink has it: nothing is left of it after that
    await sink.write(piece);
    const now = performance.now();
    if (now - shown < SHOWN_EVERY_MS) continue;
    shown = now;
    rate.update(done, now);
    place.update(done, rate);
  }
  return written;
}
