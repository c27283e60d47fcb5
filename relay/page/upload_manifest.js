/** What an upload link takes, as its maker has sealed it. */

import { decode } from "./cbor.js";
import { DamagedError, NewerError } from "./errors.js";

const VERSION = 2;
const KEY_SIZE = 65;
const NAME_LENGTH_MAX = 200;

/** `{expires, publicKey, name, filesMax, fileSizeMax, sizeMax}`, or DamagedError. */
export function readUploadManifest(bytes) {
  const fields = decode(bytes);
  if (!Array.isArray(fields)) throw new DamagedError("not a manifest");
  if (fields[0] !== VERSION) throw new NewerError("a manifest of a later version");
  const [, expires, publicKey, name, filesMax, fileSizeMax, sizeMax] = fields;
  const areNumbers = [expires, filesMax, fileSizeMax, sizeMax].every((n) => Number.isSafeInteger(n) && n >= 0);
  const isKey = publicKey instanceof Uint8Array && publicKey.length === KEY_SIZE;
  const isName = typeof name === "string" && [...name].length <= NAME_LENGTH_MAX;
  if (fields.length !== 7 || !areNumbers || !isKey || !isName) throw new DamagedError("not an upload link's manifest");
  return { expires, publicKey, name, filesMax, fileSizeMax, sizeMax };
}
