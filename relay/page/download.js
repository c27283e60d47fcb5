/**
 * From chunks in packs to plaintext in order: whole leaves are asked for, a few requests run ahead, and no byte comes
 * out that was not pinned by the manifest. Nothing here keeps more than what is under way.
 */

import { openChunk } from "./crypto.js";
import { DamagedError } from "./errors.js";
import { Space } from "./space.js";

/** The grid of a pack: relays hand out whole leaves, so that they do not learn the chunks' lengths. */
export const LEAF_SIZE = 65536;
/** Large enough that a request's round trip is not felt, small enough that several fit the budget below. */
const RUN_SIZE_MAX = 2 << 20;
/** What may be under way, sealed; opened it is as much again. A phone has this to spare. */
const AHEAD_SIZE_MAX = 8 << 20;

/** Chunks that one request can fetch: neighbours in one pack, in the order they are wanted. */
export function* planRuns(chunks) {
  let run = null;
  for (const chunk of chunks) {
    const first = Math.floor(chunk.offset / LEAF_SIZE) * LEAF_SIZE;
    const end = Math.ceil((chunk.offset + chunk.size) / LEAF_SIZE) * LEAF_SIZE;
    const isNext = run && run.pack === chunk.pack && first >= run.start && first <= run.end;
    if (isNext && end - run.start <= RUN_SIZE_MAX) {
      run.end = Math.max(run.end, end);
      run.chunks.push(chunk);
      continue;
    }
    if (run) yield run;
    run = { pack: chunk.pack, start: first, end, chunks: [chunk] };
  }
  if (run) yield run;
}

/**
 * The plaintext of each chunk, one by one, in order. `fetchRange(pack number, start, end, signal, space)` gives the bytes.
 * Ends with the error of the first chunk that is not right; whoever stops early stops the requests.
 */
export async function* contentOf(chunks, fetchRange, signal) {
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal.reason);
  signal?.addEventListener("abort", onAbort);
  const runs = planRuns(chunks);
  const underWay = [];
  const spaces = [];
  let ahead = 0;
  try {
    for (;;) {
      while (ahead < AHEAD_SIZE_MAX) {
        const { value: run, done } = runs.next();
        if (done) break;
        const pieces = openRun(run, fetchRange, stop.signal, spaces);
        pieces.catch(() => {}); // it is told when its turn comes
        underWay.push({ run, pieces });
        ahead += run.end - run.start;
      }
      if (underWay.length === 0) return;
      const { run, pieces } = underWay.shift();
      for (const piece of await pieces) {
        signal?.throwIfAborted();
        yield piece;
      }
      ahead -= run.end - run.start;
    }
  } finally {
    stop.abort();
    signal?.removeEventListener("abort", onAbort);
  }
}

async function openRun(run, fetchRange, signal, spaces) {
  const size = run.end - run.start;
  const space = size > RUN_SIZE_MAX ? new Space(size) : (spaces.pop() ?? new Space(RUN_SIZE_MAX));
  const leaves = await fetchRange(run.pack, run.start, run.end, signal, space);
  const pieces = await Promise.all(
    run.chunks.map((chunk) => {
      const at = chunk.offset - run.start;
      if (at + chunk.size > leaves.length) throw new DamagedError("a pack that ends too early");
      return openChunk(chunk, leaves.subarray(at, at + chunk.size));
    }),
  );
  // Nobody reads the sealed bytes any more. After a failure somebody still might, so then it is not used again.
  if (space.size === RUN_SIZE_MAX) spaces.push(space);
  return pieces;
}
