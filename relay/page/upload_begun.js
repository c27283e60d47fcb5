/**
 * What this browser keeps of files that are being sent, so that a page that was closed goes on: under what a file was
 * sealed, and a hash of each sealed part, written before the part is sent. Neither the link's secret nor a name is in it
 * that can be read without the link, and a page's code cannot read the key. Where a browser keeps nothing, an upload
 * begins anew.
 */

import { concat, toBase64Url, utf8 } from "./bytes.js";

const DATABASE = "holdfast uploads";
const FILES = "files";
const PARTS = "parts";
const FILE_LABEL = utf8("holdfast/1 upload begun\0");
const LABEL_LABEL = utf8("holdfast/1 upload begun by\0");
const LINK_LABEL = utf8("holdfast/1 uploads begun\0");
export const HASH_SIZE = 32;
/** Longer than a relay keeps a place for who does not come back. */
const KEPT_MS = 7_200_000;

/** The hash of a sealed part. */
export async function hashOf(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** What was begun by one link. */
export class BegunUploads {
  /** Never fails: what cannot be kept is not kept. */
  static async open(gate) {
    const link = toBase64Url(await hashOf(concat(LINK_LABEL, gate)));
    if (!globalThis.indexedDB || !navigator.locks) return new BegunUploads(null, gate, link);
    try {
      const database = await opened();
      const begun = new BegunUploads(database, gate, link);
      await begun.forgetOld(Date.now());
      return begun;
    } catch {
      return new BegunUploads(null, gate, link);
    }
  }

  constructor(database, gate, link) {
    this.database = database;
    this.gate = gate;
    this.link = link;
  }

  /** How many files of this link were begun and are not whole, and who said that they are theirs. */
  async left() {
    const all = await this.read([FILES], (transaction) => transaction.objectStore(FILES).getAll(), []);
    const own = all.filter((file) => file.link === this.link).sort((a, b) => b.at - a.at);
    return { count: own.length, label: own.length ? await this.openLabel(own[0].label) : "" };
  }

  async labelKey(use) {
    return crypto.subtle.importKey("raw", await hashOf(concat(LABEL_LABEL, this.gate)), "AES-GCM", false, [use]);
  }

  async sealLabel(label) {
    const iv = crypto.getRandomValues(new Uint8Array(12));
    return { iv, sealed: await crypto.subtle.encrypt({ name: "AES-GCM", iv }, await this.labelKey("encrypt"), utf8(label)) };
  }

  async openLabel({ iv, sealed }) {
    try {
      const key = await this.labelKey("decrypt");
      return new TextDecoder().decode(await crypto.subtle.decrypt({ name: "AES-GCM", iv }, key, sealed));
    } catch {
      return "";
    }
  }

  /** By what a file is known again. Who has this browser and not the link learns no name of it. */
  async nameOf(file, path) {
    const numbers = new DataView(new ArrayBuffer(16));
    numbers.setBigUint64(0, BigInt(file.size));
    numbers.setBigUint64(8, BigInt(Math.max(0, Math.floor(file.lastModified || 0))));
    return toBase64Url(await hashOf(concat(FILE_LABEL, this.gate, new Uint8Array(numbers.buffer), utf8(path))));
  }

  /** Whether a file of this name was begun. */
  async has(name) {
    return (await this.read([FILES], (transaction) => transaction.objectStore(FILES).getKey(name))) !== undefined;
  }

  /**
   * Makes a file this page's alone, for two pages would seal two files under one key: `{release, file, hashes}`, these
   * two of what was begun. Null if another page has it, or nothing can be kept.
   */
  async take(name) {
    if (!this.database) return null;
    const release = await held(`${DATABASE} ${name}`);
    if (!release) return null;
    const file = await this.read([FILES], (transaction) => transaction.objectStore(FILES).get(name));
    const parts = await this.read([PARTS], (transaction) => transaction.objectStore(PARTS).getAll(partsOf(name)), []);
    const hashes = [];
    for (const { first, bytes } of parts) {
      if (first !== hashes.length) break; // what is missing was not sent either, or cannot be compared
      for (let at = 0; at < bytes.length; at += HASH_SIZE) hashes.push(bytes.slice(at, at + HASH_SIZE));
    }
    return { release, file: file?.link === this.link ? file : null, hashes };
  }

  /** Keeps under what a file is sealed; false if it cannot be. */
  async begin(name, { id, head, key, base, label }) {
    const file = { name, link: this.link, id, head, key, base, label: await this.sealLabel(label), at: Date.now() };
    return this.write([FILES, PARTS], (transaction) => {
      transaction.objectStore(PARTS).delete(partsOf(name));
      transaction.objectStore(FILES).put(file);
    });
  }

  /** Keeps the hashes of parts that are about to be sent; false if it cannot be. */
  async add(name, first, hashes) {
    return this.write([PARTS], (transaction) => {
      transaction.objectStore(PARTS).put({ name, first, bytes: concat(...hashes) });
    });
  }

  /** Forgets a file that is whole, or is not to be sent. */
  async remove(name) {
    await this.write([FILES, PARTS], (transaction) => {
      transaction.objectStore(FILES).delete(name);
      transaction.objectStore(PARTS).delete(partsOf(name));
    });
  }

  async forgetOld(now) {
    const all = await this.read([FILES], (transaction) => transaction.objectStore(FILES).getAll(), []);
    for (const { name, at } of all) if (now - at > KEPT_MS) await this.remove(name);
  }

  async read(stores, ask, otherwise = undefined) {
    if (!this.database) return otherwise;
    try {
      return await answered(ask(this.database.transaction(stores)));
    } catch {
      return otherwise;
    }
  }

  /** On the disk when it is true. */
  async write(stores, act) {
    if (!this.database) return false;
    try {
      const transaction = this.database.transaction(stores, "readwrite", { durability: "strict" });
      act(transaction);
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
      return true;
    } catch {
      return false;
    }
  }
}

function partsOf(name) {
  return IDBKeyRange.bound([name, 0], [name, Number.MAX_SAFE_INTEGER]);
}

function opened() {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(FILES, { keyPath: "name" });
    request.result.createObjectStore(PARTS, { keyPath: ["name", "first"] });
  };
  return answered(request);
}

function answered(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

/** A lock, as what lets go of it; null if another page holds it. */
function held(name) {
  return new Promise((resolve) => {
    const whenHeld = (lock) => {
      if (!lock) return resolve(null);
      return new Promise((release) => resolve(release));
    };
    navigator.locks.request(name, { ifAvailable: true }, whenHeld).catch(() => resolve(null));
  });
}
