/** Argon2id beside the page, so that the page does not stand still meanwhile. */

import "./vendor-argon2.js";
import { passwordKey } from "./crypto.js";

self.addEventListener("message", async ({ data }) => {
  self.postMessage(await passwordKey(self.hashwasm.argon2id, data.password, data.passwordSalt));
});
