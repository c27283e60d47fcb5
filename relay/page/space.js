/**
 * Memory that answers are read into, again and again. Left to the browser each answer is memory of its own, of which the
 * collector of garbage lets a hundred megabytes pile up before it looks.
 */
export class Space {
  constructor(size) {
    this.size = size;
    this.buffer = new ArrayBuffer(size);
  }

  /** Reads a body to its end, `size` bytes at most, to the place `at`; the bytes that came. */
  async read(response, at, size) {
    const reader = readerOf(response);
    if (!reader) return this.put(new Uint8Array(await response.arrayBuffer()).subarray(0, size), at);
    let filled = 0;
    try {
      while (filled < size) {
        // The browser takes the memory while it reads, and gives it back as another object.
        const { value, done } = await reader.read(new Uint8Array(this.buffer, at + filled, size - filled));
        if (value) this.buffer = value.buffer;
        if (done) break;
        filled += value.length;
      }
    } finally {
      // What the browser had when the connection broke is lost.
      if (this.buffer.byteLength === 0) this.buffer = new ArrayBuffer(this.size);
      reader.cancel().catch(() => {});
    }
    return filled;
  }

  put(bytes, at) {
    new Uint8Array(this.buffer).set(bytes, at);
    return bytes.length;
  }

  /** The first bytes of it. */
  view(size) {
    return new Uint8Array(this.buffer, 0, size);
  }
}

/** A reader that reads into given memory, where the browser has one. */
function readerOf(response) {
  try {
    return response.body.getReader({ mode: "byob" });
  } catch {
    return null;
  }
}
