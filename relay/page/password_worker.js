/** Argon2id beside the page, so that the page does not stand still meanwhile. */

import "./vendor-argon2.js";
import { passwordKey } from "./crypto.js";
import { WrongPasswordError } from "./errors.js";

self.addEventListener("message", async ({ data: { password, passwordSalt } }) => {
  try {
    self.postMessage({ key: await passwordKey(self.hashwasm.argon2id, password, passwordSalt) });
  } catch (error) {
    if (!(error instanceof WrongPasswordError)) throw error;
    self.postMessage({ key: null });
  }
});
