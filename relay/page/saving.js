/**
 * Where the bytes go, without a whole file in memory: a file that the person chose, where the browser has that; else a
 * download that a service worker streams; else, for what is small, memory. A sink has `write`, `close` and `abort`, and
 * whatever was written before `close` is never left behind as a whole file. What is written is the sink's from then on.
 */

import { BrowserError, SavingError, StoppedError } from "./errors.js";

/** Kept whole when the browser offers nothing better; more would end a phone's tab. */
const MEMORY_SIZE_MAX = 128 << 20;
/** Each write to a file costs a round trip to the browser's own process. */
const BATCH_SIZE = 1 << 20;
const SCOPE = "/s/-/";
/** A service worker that hears nothing for half a minute is put to sleep, with the download that it carries. */
const WAKE_MS = 10_000;
const START_MS = 15_000;
/** A download that fails sooner than this after its start stands in Firefox's list for good, as one that goes on. */
const SETTLED_MS = 3_000;

/** Opens a sink for `size` bytes under `name`. To be called at once in the click that asks for it. */
export async function openSink(name, size) {
  if (globalThis.showSaveFilePicker) {
    const sink = await FileSink.choose(name);
    if (sink) return sink;
  }
  const worker = await streamWorker();
  if (worker) return StreamSink.open(worker, name, size);
  if (size <= MEMORY_SIZE_MAX) return new MemorySink(name);
  throw new BrowserError("no way to save without holding the whole file");
}

/** A file of the person's choice; the browser keeps what is written apart from it until it is closed. */
class FileSink {
  static async choose(name) {
    let handle;
    try {
      handle = await globalThis.showSaveFilePicker({ suggestedName: name });
    } catch (error) {
      if (error.name === "AbortError") throw new StoppedError("no file was chosen");
      return null; // forbidden here, by a policy or a frame: there are other ways
    }
    try {
      return new FileSink(handle, await handle.createWritable());
    } catch (error) {
      throw new SavingError(String(error));
    }
  }

  constructor(handle, stream) {
    this.handle = handle;
    this.stream = stream;
    this.batch = new Uint8Array(BATCH_SIZE);
    this.filled = 0;
  }

  /** Whether `close` means that the file is on the disk. */
  isKnownSaved = true;

  interrupt() {
    // The disk does not make anybody wait for long.
  }

  async write(bytes) {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + this.batch.length - this.filled);
      this.batch.set(part, this.filled);
      this.filled += part.length;
      at += part.length;
      if (this.filled === this.batch.length) await this.flush();
    }
  }

  async close() {
    await this.flush();
    await this.guard(() => this.stream.close());
  }

  async flush() {
    await this.guard(() => this.stream.write(this.batch.subarray(0, this.filled)));
    this.filled = 0;
  }

  async abort() {
    try {
      await this.stream.abort();
      // Choosing a new name makes an empty file, which nobody asked for; one that was there before keeps its bytes.
      if ((await this.handle.getFile()).size === 0) await this.handle.remove?.();
    } catch {
      // It could not be tidied up; what matters is that nothing was saved as whole.
    }
  }

  async guard(act) {
    try {
      await act();
    } catch (error) {
      throw new SavingError(String(error));
    }
  }
}

/**
 * A download of the browser's own, whose bytes come from this page through a service worker. It begins with the first piece
 * that was found right: what fails before leaves nothing among the browser's downloads.
 */
class StreamSink {
  static async open(worker, name, size) {
    const { port1: port, port2: far } = new MessageChannel();
    const sink = new StreamSink(worker, port);
    worker.postMessage({ open: sink.key, name, size, port: far }, [far]);
    await sink.started();
    return sink;
  }

  constructor(worker, port) {
    this.worker = worker;
    this.port = port;
    this.key = crypto.randomUUID();
    this.frame = null;
    this.begunAt = 0;
    this.wanted = 0;
    this.batch = new Uint8Array(BATCH_SIZE);
    this.filled = 0;
    this.free = [];
    this.failure = null;
    this.wake = () => {};
    this.isReady = false;
    port.onmessage = ({ data }) => this.onMessage(data);
    this.timer = setInterval(() => worker.postMessage({ stayAwake: true }), WAKE_MS);
  }

  isKnownSaved = false;

  onMessage(word) {
    if (word === "ready") this.isReady = true;
    if (word.more) this.wanted += 1;
    if (word.back) this.free.push(word.back);
    if (word === "cancelled") this.failure ??= new StoppedError("the browser's download was ended");
    this.wake();
  }

  async write(bytes) {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + this.batch.length - this.filled);
      this.batch.set(part, this.filled);
      this.filled += part.length;
      at += part.length;
      if (this.filled === this.batch.length) await this.flush();
    }
  }

  /** Waits until the browser takes more: the disk sets the pace, not the network. */
  async flush() {
    this.begin();
    await this.until(() => this.wanted > 0);
    this.wanted -= 1;
    this.port.postMessage(this.batch.subarray(0, this.filled), [this.batch.buffer]);
    this.batch = new Uint8Array(this.free.pop() ?? BATCH_SIZE);
    this.filled = 0;
  }

  async close() {
    if (this.filled) await this.flush();
    this.begin();
    await this.until(() => this.wanted > 0);
    this.port.postMessage("end");
    this.leave();
  }

  async abort() {
    const left = this.frame ? this.begunAt + SETTLED_MS - performance.now() : 0;
    setTimeout(() => this.port.postMessage("abort"), Math.max(0, left));
    this.leave();
  }

  begin() {
    if (this.frame) return;
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    this.frame.src = `${SCOPE}save/${this.key}`;
    document.body.append(this.frame);
    this.begunAt = performance.now();
  }

  /** Whoever waits for the browser to take more ends with this error. */
  interrupt(error) {
    this.failure ??= error;
    this.wake();
  }

  async started() {
    const late = setTimeout(() => this.interrupt(new SavingError("the service worker does not answer")), START_MS);
    await this.until(() => this.isReady);
    clearTimeout(late);
  }

  async until(condition) {
    while (!condition()) {
      if (this.failure) {
        this.leave();
        throw this.failure;
      }
      await new Promise((resolve) => {
        this.wake = resolve;
      });
    }
  }

  leave() {
    clearInterval(this.timer);
    // The frame stays a while: taking it away at once ends the download in some browsers.
    setTimeout(() => this.frame?.remove(), 60_000);
  }
}

async function streamWorker() {
  try {
    const registration = await navigator.serviceWorker.register(`${SCOPE}sw.js`, { scope: SCOPE });
    return registration.active ?? (await activated(registration.installing ?? registration.waiting));
  } catch {
    return null; // private windows and some policies have none
  }
}

function activated(worker) {
  return new Promise((resolve, reject) => {
    worker.addEventListener("statechange", () => {
      if (worker.state === "activated") resolve(worker);
      if (worker.state === "redundant") reject(new Error("not installed"));
    });
    if (worker.state === "activated") resolve(worker);
  });
}

/** The last way, for browsers that can do no better: nothing is handed over before it is whole. */
class MemorySink {
  constructor(name) {
    this.name = name;
    this.parts = [];
  }

  isKnownSaved = false;

  interrupt() {
    // Memory makes nobody wait.
  }

  async write(bytes) {
    this.parts.push(bytes);
  }

  async close() {
    const address = URL.createObjectURL(new Blob(this.parts, { type: "application/octet-stream" }));
    const anchor = document.createElement("a");
    anchor.href = address;
    anchor.download = this.name;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    this.parts = [];
  }

  async abort() {
    this.parts = [];
  }
}
