/** The link's home relay over HTTP: what it is asked, and what its answers mean. */

import { toBase64Url } from "./bytes.js";
import * as errors from "./errors.js";

const TRIES = 5;
const PAUSE_MS = 500;

/** One link at its home. The ticket is asked for again by itself when the relay has forgotten it. */
export class Home {
  constructor(linkId) {
    this.root = `/s/${toBase64Url(linkId)}`;
    this.ticket = null;
    this.token = null;
  }

  /** `{flags, passwordSalt}` of the link. */
  async head() {
    const response = await this.ask("/head");
    const { flags, pw_salt: salt } = await response.json();
    return { flags, passwordSalt: salt };
  }

  /** The link's blob, for the token; it counts as a download once enough of it was served. */
  async claim(token) {
    const response = await this.ask("/claim", { method: "POST", body: token });
    this.token = token;
    this.ticket = response.headers.get("holdfast-ticket");
    return new Uint8Array(await response.arrayBuffer());
  }

  /** A range of a pack, as far as the pack goes. */
  async range(packId, start, end, signal) {
    const headers = { range: `bytes=${start}-${end - 1}`, "holdfast-ticket": this.ticket };
    const response = await this.ask(`/pack/${toBase64Url(packId)}`, { headers, signal }, true);
    return response;
  }
}
