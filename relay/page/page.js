/** The page of a share link: from the address to the files, step by step. */

import { fromBase64Url } from "./bytes.js";
import { blobFlags, FLAG_PASSWORD, FLAG_UPLOAD, LINK_ID_SIZE, linkToken, openBlob, SECRET_SIZE } from "./crypto.js";
import { contentOf } from "./download.js";
import * as errors from "./errors.js";
import { Home } from "./home.js";
import { readManifest } from "./manifest.js";
import { withChunks, withFiles } from "./pages.js";
import { previewKind, previewOf } from "./preview.js";
import { saveFile, saveZip } from "./transfer.js";
import * as ui from "./ui.js";
import { presentUpload } from "./upload.js";
import { uploadGate } from "./upload_crypto.js";
import { readUploadManifest } from "./upload_manifest.js";

const NO_PASSWORD = new Uint8Array(0);

/** What ends the page and not only a transfer: nothing more is to be had. */
const ENDS = new Set([
  errors.EndedError,
  errors.ExpiredError,
  errors.RevokedError,
  errors.UnknownError,
  errors.UsedUpError,
]);

/** The secret out of the address, which is rid of it before anything else happens. */
function takeSecret() {
  const text = location.hash.slice(1);
  if (text) history.replaceState(null, "", location.pathname);
  return fromBase64Url(text, SECRET_SIZE);
}

async function open(secret) {
  ui.showOpening("Opening the link…");
  try {
    const { home, shared, upload } = await openLink(secret);
    if (upload) await presentUpload(home, upload);
    else present(home, shared);
  } catch (error) {
    ui.showFailure(errors.asLinkError(error), () => open(secret));
  }
}

async function openLink(secret) {
  if (!globalThis.crypto?.subtle) throw new errors.BrowserError("no WebCrypto");
  const linkId = fromBase64Url(location.pathname.split("/").at(-1), LINK_ID_SIZE);
  if (!linkId || !secret) throw new errors.IncompleteError("no secret");
  const home = new Home(linkId);
  const { flags, passwordSalt } = await home.head();
  const enter = flags & FLAG_PASSWORD ? enterWithPassword : claim;
  const { passwordKey, blob } = await enter(home, linkId, secret, passwordSalt);
  const manifest = await openBlob(blob, linkId, secret, passwordKey);
  if (blobFlags(blob) & FLAG_UPLOAD) {
    const gate = await uploadGate(secret, passwordKey, linkId, passwordSalt);
    return { home, upload: { ...readUploadManifest(manifest), linkId, gate } };
  }
  const listed = readManifest(manifest);
  home.packs = listed.packs; // which grow, as pages name more of them
  return { home, shared: { manifest: listed, ...(await withFiles(listed, (...range) => home.range(...range))) } };
}

async function claim(home, linkId, secret, passwordSalt, passwordKey = NO_PASSWORD) {
  const token = await linkToken(secret, passwordKey, linkId, passwordSalt);
  return { passwordKey, blob: await home.claim(token) };
}

/** Asks until the relay takes the password, or says something else. */
async function enterWithPassword(home, linkId, secret, passwordSalt) {
  let trouble = null;
  for (;;) {
    const password = await ui.askPassword(trouble);
    ui.showOpening("Checking the password…");
    try {
      const key = await hashPassword(password, passwordSalt);
      return await claim(home, linkId, secret, passwordSalt, key);
    } catch (error) {
      // To the relay a wrong password and a link that is not there are the same.
      trouble = error instanceof errors.UnknownError ? new errors.WrongPasswordError("404") : error;
      if (!(trouble instanceof errors.WrongPasswordError || trouble instanceof errors.TooManyError)) throw trouble;
    }
  }
}

/** The password's key, made by a worker that lives as long as that takes. */
async function hashPassword(password, passwordSalt) {
  const worker = new Worker(new URL("./password_worker.js", import.meta.url), { type: "module" });
  try {
    const { key } = await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = () => reject(new errors.BrowserError("no WebAssembly"));
      worker.postMessage({ password, passwordSalt });
    });
    if (!key) throw new errors.WrongPasswordError("not a password");
    return key;
  } finally {
    worker.terminate();
  }
}

function present(home, shared) {
  addEventListener("pagehide", () => home.giveBack());
  const fetchRange = (...range) => home.range(...range);
  const source = { fetchRange, withChunks: (files, signal) => withChunks(files, shared.manifest, fetchRange, signal) };
  const place = ui.showFiles(shared, {
    canView: (file) => previewKind(file) !== null,
    onSaveAll: () => follow(place, saveZip(shared, source, place)),
    onSave: (file) => follow(place, saveFile(file, source, place)),
    onView: (file) =>
      ui.view(file, async (signal) => {
        const pieces = [];
        await source.withChunks([file], signal);
        for await (const piece of contentOf(file.chunks, fetchRange, signal)) pieces.push(piece);
        return previewOf(file, pieces, signal);
      }),
  });
}

/** Says how a transfer ended. */
async function follow(place, saving) {
  try {
    const isKnown = await saving;
    place.end({
      title: isKnown ? "Saved" : "Downloaded",
      advice: isKnown
        ? "Every part was checked against what was shared."
        : "Every part was checked against what was shared. It is among your browser's downloads.",
      kind: "saved",
    });
  } catch (caught) {
    const error = errors.asLinkError(caught);
    if (ENDS.has(error.constructor)) ui.showFailure(error);
    else place.end({ title: error.title, advice: error.advice, kind: error.kind });
  }
}

addEventListener("hashchange", () => {
  if (location.hash) open(takeSecret());
});
open(takeSecret());
