/**
 * Opens one zstd frame with every limit stated. fzstd alone believes a frame's word about its size, fills with zeros
 * what is missing and allocates any window; so the frame is measured here first, and what comes out is counted.
 */

import { DamagedError } from "./errors.js";
import { Decompress } from "./vendor-fzstd.js";

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const WINDOW_SIZE_MAX = 1 << 20;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

/** The content of exactly `size` bytes of the one frame that `data` is, or DamagedError; nothing larger ever exists. */
export function unzstd(data, size) {
  if (contentSize(data) !== size) throw new DamagedError("a frame of another size");
  const content = new Uint8Array(size);
  let at = 0;
  const decompressor = new Decompress((piece) => {
    if (piece.length > size - at) throw new DamagedError("a frame that holds more than it says");
    content.set(piece, at);
    at += piece.length;
  });
  try {
    decompressor.push(data, true);
  } catch (error) {
    throw error instanceof DamagedError ? error : new DamagedError("a frame that cannot be read");
  }
  if (at !== size) throw new DamagedError("a frame that holds less than it says");
  return content;
}

/** The size that a frame states, if it is one whole frame with nothing behind it, no dictionary and a small window. */
function contentSize(data) {
  const flags = data[4];
  if (data.length < 6 || MAGIC.some((byte, i) => data[i] !== byte) || flags & 0b1011) {
    throw new DamagedError("not a frame as devices write them");
  }
  const isSingle = Boolean(flags & 0x20);
  const sizeBytes = flags >> 6 ? 1 << (flags >> 6) : Number(isSingle);
  if (sizeBytes === 0) throw new DamagedError("a frame that does not say its size");
  let at = isSingle ? 5 : 6;
  let stated = sizeBytes === 2 ? 256 : 0;
  for (let i = 0; i < sizeBytes; i++) stated += (data[at + i] ?? 0) * 2 ** (8 * i);
  at += sizeBytes;
  // A single segment's window is its content, which the manifest caps.
  if (!isSingle) {
    const unit = 2 ** (10 + (data[5] >> 3));
    if (unit + (unit / 8) * (data[5] & 7) > WINDOW_SIZE_MAX) throw new DamagedError("too large a window");
  }
  if (endOfBlocks(data, at) + (flags & 4) !== data.length) throw new DamagedError("not exactly one frame");
  return stated;
}

function endOfBlocks(data, at) {
  for (let isLast = false; !isLast; ) {
    if (at + 3 > data.length) throw new DamagedError("a frame that ends too early");
    const head = data[at] | (data[at + 1] << 8) | (data[at + 2] << 16);
    const kind = (head >> 1) & 3;
    if (kind === BLOCK_RESERVED) throw new DamagedError("a kind of block that is none");
    isLast = Boolean(head & 1);
    at += 3 + (kind === BLOCK_RLE ? 1 : head >> 3);
  }
  return at;
}
