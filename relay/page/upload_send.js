/**
 * Sends files, one after the other, each in sealed pieces. What the relay has is asked of the relay, so a connection
 * that breaks costs one piece, and a file that was begun is gone on with: by a page that was closed, too, if what it
 * had sent was of the same bytes.
 */

import { isEqual, toBase64Url } from "./bytes.js";
import { StoppedError, UnreachableError } from "./errors.js";
import { check, said, sleep } from "./home.js";
import { hashOf } from "./upload_begun.js";
import {
  BATCH_ID_SIZE, encodeList, sealHead, SEED_SIZE, SEGMENT_SIZE, SegmentSealer, segmentCount, UPLOAD_ID_SIZE,
} from "./upload_crypto.js";
import { BrokenError, NoRoomError, ReadingError, REFUSALS } from "./upload_errors.js";

const TICKET = "X-Holdfast-Ticket";
const SIZE = "X-Holdfast-Size";
const HEAD_VERSION = 1;
/** One at first: a slow line shows progress soon. The relay takes 16. */
const SEGMENTS_MAX = 8;
/** A request that is done sooner is followed by a larger one. */
const QUICK_MS = 700;
const TRIES = 5;
const PAUSE_MS = 1000;
const LATER_MS = 6000;
const LATER_TRIES = 20;

const random = (size) => crypto.getRandomValues(new Uint8Array(size));

/** One file on its way. */
class Outgoing {
  constructor(file, path) {
    this.file = file;
    this.path = path;
    this.id = random(UPLOAD_ID_SIZE);
    this.sealed = null;
    /** Of each part that was sealed, also by a page before this one. */
    this.hashes = [];
    /** What it is kept under in this browser, and what lets go of it; empty where it is not kept. */
    this.name = "";
    this.release = null;
    /** Whether the relay keeps a place for it. */
    this.hasBegun = false;
    this.isChecking = false;
    /** Whether another page had begun it with other bytes, or what it had sent cannot be compared. */
    this.isAnew = false;
    this.isWhole = false;
    /** Bytes of the file that the relay has. */
    this.done = 0;
  }
}

/** What goes to one upload link: files are added, and sent; what was sent stays in here. */
export class Sending {
  constructor(home, upload, begun) {
    this.home = home;
    this.upload = upload;
    this.begun = begun;
    this.files = [];
    this.batch = random(BATCH_ID_SIZE);
  }

  add(file, path) {
    const outgoing = new Outgoing(file, path);
    this.files.push(outgoing);
    return outgoing;
  }

  /** Whether a page before this one had begun to send it, and a place is kept for it. */
  async wasBegun(file, path) {
    return this.begun.has(await this.begun.nameOf(file, path));
  }

  async remove(outgoing) {
    this.files = this.files.filter((each) => each !== outgoing);
    await this.forget(outgoing);
  }

  async forget(outgoing) {
    const { name, release } = outgoing;
    if (!release) return;
    [outgoing.name, outgoing.release] = ["", null];
    await this.begun.remove(name);
    release();
  }

  get left() {
    return this.files.filter((each) => !each.isWhole);
  }

  /** Bytes in all, and of them those that the relay has. */
  get total() {
    return this.files.reduce((sum, each) => sum + each.file.size, 0);
  }

  get done() {
    return this.files.reduce((sum, each) => sum + (each.isWhole ? each.file.size : each.done), 0);
  }

  /** What the link takes and has taken. */
  async room(signal) {
    const answer = await this.ask("/uploads", { signal });
    check(answer);
    return said(answer.body);
  }

  /** Sends all that is left; `onProgress(outgoing)` is called whenever the relay has more. */
  async send(label, signal, onProgress) {
    const all = this.files;
    for (const outgoing of this.left) {
      const seal = () => this.seal(outgoing, label, all.indexOf(outgoing), all.length);
      if (!outgoing.sealed) {
        if (!(await this.resume(outgoing, signal, onProgress))) await seal();
      }
      await this.sendOne(outgoing, signal, onProgress, seal);
      await this.forget(outgoing);
      onProgress(outgoing);
    }
    this.batch = random(BATCH_ID_SIZE); // what follows is another batch
  }

  /** Takes up what a page before this one had begun; false if there is nothing of these very bytes. */
  async resume(outgoing, signal, onProgress) {
    // Of a single part there is nothing to go on with.
    if (segmentCount(outgoing.file.size) < 2) return false;
    const name = await this.begun.nameOf(outgoing.file, outgoing.path);
    const taken = await this.begun.take(name);
    if (!taken) return false;
    [outgoing.name, outgoing.release] = [name, taken.release];
    if (!taken.file) return false;
    const { id, head, key, base } = taken.file;
    const sealed = { head, sealer: new SegmentSealer(key, base, this.upload.linkId, id) };
    if (!(await this.isSame(outgoing, sealed, taken.hashes, signal, onProgress))) {
      outgoing.isAnew = true;
      return false;
    }
    [outgoing.id, outgoing.sealed, outgoing.hashes] = [id, sealed, taken.hashes];
    return true;
  }

  /** Whether the file has what was sealed of it; nothing of this leaves the page. */
  async isSame(outgoing, sealed, hashes, signal, onProgress) {
    outgoing.isChecking = true;
    try {
      for (let index = 0; index < hashes.length; index++) {
        signal.throwIfAborted();
        onProgress(outgoing);
        const hash = await hashOf(await this.sealedPart(outgoing.file, sealed, index));
        if (!isEqual(hash, hashes[index])) return false;
      }
      return true;
    } finally {
      outgoing.isChecking = false;
    }
  }

  /** A head is sealed once: the upload goes on under it. */
  async seal(outgoing, label, number, count) {
    const { file, path } = outgoing;
    outgoing.id = random(UPLOAD_ID_SIZE);
    outgoing.hashes = [];
    const { publicKey, linkId, gate } = this.upload;
    const modified = Math.max(0, Math.floor(file.lastModified || 0));
    const plain = encodeList([HEAD_VERSION, path, file.size, modified, label, this.batch, number, count]);
    outgoing.sealed = await sealHead(publicKey, linkId, outgoing.id, gate, plain, random(SEED_SIZE));
    if (!outgoing.name) return;
    const { head, sealer } = outgoing.sealed;
    const { key, base } = sealer;
    const isKept = await this.begun.begin(outgoing.name, { id: outgoing.id, head, key, base, label });
    if (!isKept) await this.forget(outgoing);
  }

  async sendOne(outgoing, signal, onProgress, seal) {
    for (let failures = 0; ; ) {
      try {
        let { at, whole } = await this.begin(outgoing, signal);
        if (at > outgoing.hashes.length) {
          // The relay has more of it than this browser knows of: there is nothing to compare that with.
          outgoing.isAnew = true;
          await seal();
          continue;
        }
        note(outgoing, at, whole);
        onProgress(outgoing);
        let count = 1;
        while (!outgoing.isWhole) {
          const body = await this.sealFrom(outgoing, at, count);
          const began = performance.now();
          const next = await this.put(outgoing, at, body, signal);
          if (performance.now() - began < QUICK_MS) count = Math.min(2 * count, SEGMENTS_MAX);
          if (next.at > at) failures = 0;
          ({ at, whole } = next);
          note(outgoing, at, whole);
          onProgress(outgoing);
        }
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof UnreachableError)) throw error;
        failures += 1;
        if (failures >= TRIES) throw new BrokenError(String(error));
        await sleep(PAUSE_MS * failures, signal);
      }
    }
  }

  async begin({ id, file, sealed }, signal) {
    const headers = { [SIZE]: String(file.size) };
    for (let left = LATER_TRIES; ; left--) {
      const answer = await this.ask(`/uploads/${toBase64Url(id)}`, { method: "PUT", headers, body: sealed.head, signal });
      if (answer.status === 413) throw new (REFUSALS[said(answer.body).refused] ?? NoRoomError)("413");
      // So many small files in a minute that the relay wants a pause.
      if (answer.status !== 429 || left === 0) return place(answer);
      await sleep(LATER_MS, signal);
    }
  }

  async put({ id }, at, body, signal) {
    return place(await this.ask(`/uploads/${toBase64Url(id)}/${at}`, { method: "PUT", body, signal }));
  }

  /** A few segments from one on, as a blob: no more of the file is in memory. */
  async sealFrom(outgoing, first, count) {
    const { file, sealed, hashes } = outgoing;
    const end = Math.min(first + count, segmentCount(file.size));
    const known = hashes.length;
    const parts = [];
    for (let index = first; index < end; index++) {
      const part = await this.sealedPart(file, sealed, index);
      const hash = await hashOf(part);
      if (index === hashes.length) hashes.push(hash);
      else if (!isEqual(hash, hashes[index])) throw new ReadingError(file.name);
      parts.push(part);
    }
    // Before they are sent, or it would not be known later that they were.
    const isKept = hashes.length === known || !outgoing.name || (await this.begun.add(outgoing.name, known, hashes.slice(known)));
    if (!isKept) await this.forget(outgoing);
    return new Blob(parts);
  }

  async sealedPart(file, { sealer }, index) {
    const slice = file.slice(index * SEGMENT_SIZE, (index + 1) * SEGMENT_SIZE);
    let plain;
    try {
      plain = await slice.arrayBuffer();
    } catch {
      throw new ReadingError(file.name);
    }
    if (plain.byteLength !== slice.size) throw new ReadingError(file.name);
    return sealer.seal(index, plain, index === segmentCount(file.size) - 1);
  }

  /** With the ticket; one that the relay has forgotten is claimed anew. */
  async ask(path, options) {
    for (let isFirst = true; ; isFirst = false) {
      const { ticket } = this.home;
      const headers = { ...options.headers, [TICKET]: ticket };
      const answer = await this.home.once(path, { ...options, headers });
      if (answer.status >= 500) throw new UnreachableError(`${path}: ${answer.status}`);
      if (answer.status !== 404 || !isFirst) return answer;
      await this.home.renew(ticket);
    }
  }
}

function note(outgoing, at, isWhole) {
  outgoing.hasBegun = true;
  outgoing.isWhole = isWhole;
  outgoing.done = Math.min(at * SEGMENT_SIZE, outgoing.file.size);
}

function place(answer) {
  check(answer);
  const { at, whole } = said(answer.body);
  if (!Number.isSafeInteger(at) || typeof whole !== "boolean") throw new UnreachableError("no place");
  return { at, whole };
}

/** What is thrown where a person has pressed Stop. */
export function stopped() {
  return new StoppedError("by the person");
}
