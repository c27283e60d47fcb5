/** The link's home relay over HTTP: what it is asked, and what its answers mean to a person. */

import { fromBase64Url, toBase64Url } from "./bytes.js";
import {
  DamagedError,
  EndedError,
  ExpiredError,
  NewerError,
  RevokedError,
  TakenError,
  TooManyError,
  UnknownError,
  UnreachableError,
  UsedUpError,
} from "./errors.js";

const VERSION = 1;
const TICKET = "X-Holdfast-Ticket";
const PASSWORD_SALT_SIZE = 16;
/** A dropped connection or a relay that restarts is nobody's concern; half a minute of it is. */
const TRIES = 6;
const PAUSE_MS = 500;
const PAUSE_MAX_MS = 10_000;

/** As a status: later than all that a relay could say. */
const NO_ANSWER = 599;

const ENDS = { expired: ExpiredError, revoked: RevokedError, "used up": UsedUpError };

/** One link at its home. A ticket that the relay has forgotten is asked for again. */
export class Home {
  constructor(linkId) {
    this.root = `/s/${toBase64Url(linkId)}`;
    this.packs = [];
    this.ticket = "";
    this.token = null;
    this.claiming = null;
  }

  /** `{flags, passwordSalt}`; it is answered for links that do not exist, too. */
  async head() {
    const answer = await this.ask("/head");
    check(answer);
    const { version, flags, salt } = said(answer.body);
    if (version !== VERSION) throw new NewerError("a head of a later version");
    const passwordSalt = fromBase64Url(String(salt), PASSWORD_SALT_SIZE);
    if (!passwordSalt || !Number.isInteger(flags)) throw new UnreachableError("a head that is none");
    return { flags, passwordSalt };
  }

  /** The link's blob, for its token; this takes one download, which counts once enough of it was served. */
  async claim(token) {
    const answer = await this.ask("/claim", { method: "POST", body: token });
    check(answer);
    this.token = token;
    this.ticket = answer.headers.get(TICKET) ?? "";
    return answer.body;
  }

  /**
   * Gives the download back if nothing of it was had, so that nobody has to wait for it; also while the page goes. A page
   * that is come back to claims anew.
   */
  giveBack() {
    const options = { method: "DELETE", headers: { [TICKET]: this.ticket }, credentials: "omit", keepalive: true };
    fetch(`${this.root}/claim`, options).catch(() => null);
  }

  /** The bytes of a pack from `start` to `end`, both on the grid of leaves, in the space's memory. */
  async range(pack, start, end, signal, space) {
    for (let at = start; at < end; ) {
      // An answer may be shorter than what was asked for; the rest is asked for again.
      const size = await this.part(pack, at, end, signal, (response) => space.read(response, at - start, end - at));
      if (size === 0) throw new DamagedError("an empty answer");
      at += size;
    }
    return space.view(end - start);
  }

  async part(pack, start, end, signal, read) {
    const address = `/pack/${toBase64Url(this.packs[pack])}`;
    for (let isFirst = true; ; isFirst = false) {
      const { ticket } = this;
      const headers = { [TICKET]: ticket, Range: `bytes=${start}-${end - 1}` };
      const answer = await this.ask(address, { headers, signal }, read);
      if (answer.status === 404 && isFirst) {
        await this.renew(ticket);
        continue;
      }
      check(answer);
      return answer.body;
    }
  }

  /** Claims anew, once for all requests that found the ticket forgotten. */
  async renew(ticket) {
    if (ticket !== this.ticket) return;
    this.claiming ??= this.claim(this.token).finally(() => {
      this.claiming = null;
    });
    await this.claiming;
  }

  /**
   * The whole answer, whatever it is; no answer and a relay in trouble are tried again for a while.
   * `read` gives the body of a good answer; all others come as they are.
   */
  async ask(path, options = {}, read = wholeBody) {
    for (let left = TRIES - 1, pause = PAUSE_MS; ; left--, pause = Math.min(2 * pause, PAUSE_MAX_MS)) {
      const answer = await this.once(path, options, read);
      if (answer.status < 500) return answer;
      if (left === 0) throw new UnreachableError(`${path}: ${answer.status}`);
      await sleep(pause, options.signal);
    }
  }

  async once(path, options, read = wholeBody) {
    try {
      const response = await fetch(this.root + path, { ...options, cache: "no-store", credentials: "omit", redirect: "error" });
      // A connection that breaks in the middle of a body is no answer, so the body belongs in here.
      const body = await (response.ok ? read : wholeBody)(response);
      return { status: response.status, headers: response.headers, body };
    } catch {
      options.signal?.throwIfAborted();
      return { status: NO_ANSWER };
    }
  }
}

async function wholeBody(response) {
  return new Uint8Array(await response.arrayBuffer());
}

/** Throws what an answer means that is no good one. */
export function check({ status, body }) {
  if (status >= 200 && status < 300) return;
  const { ended, wait } = said(body);
  if (status === 410) throw new (ENDS[ended] ?? EndedError)(`410 ${ended}`);
  if (status === 429) throw new (wait === "taken" ? TakenError : TooManyError)("429");
  if (status === 404) throw new UnknownError("404");
  throw new UnreachableError(`status ${status}`);
}

/** The JSON object of a body, or an empty one. */
export function said(body) {
  try {
    return JSON.parse(new TextDecoder().decode(body)) ?? {};
  } catch {
    return {};
  }
}

/** Waits, unless it is told to stop. */
export function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(done, milliseconds);
    const onAbort = () => done(signal.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    function done(reason) {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      if (reason) reject(reason);
      else resolve();
    }
  });
}
