/** The view of an upload link: files are chosen or dropped, named as theirs by who sends them, and sent. */

import * as errors from "./errors.js";
import { Rate } from "./rate.js";
import { showFailure } from "./ui.js";
import { BegunUploads } from "./upload_begun.js";
import { endOf } from "./upload_errors.js";
import { Sending, stopped } from "./upload_send.js";
import { UploadView } from "./upload_ui.js";

/** More often is not seen, and costs. */
const SHOWN_EVERY_MS = 150;

const ENDS = new Set([
  errors.EndedError, errors.ExpiredError, errors.RevokedError, errors.UnknownError, errors.UsedUpError,
]);

/** Shows what the link takes, and sends what the person gives. */
export async function presentUpload(home, upload) {
  const begun = await BegunUploads.open(upload.gate);
  const sending = new Sending(home, upload, begun);
  const [room, left] = [await sending.room(), await begun.left()];
  const view = new UploadView(upload, room, left, {
    wasBegun: (file, path) => sending.wasBegun(file, path),
    onAdd: (file, path) => sending.add(file, path),
    onRemove: (outgoing) => sending.remove(outgoing),
    onSend: (label) => run(sending, view, label),
    left: () => sending.left,
  });
}

async function run(sending, view, label) {
  const stop = new AbortController();
  const stay = (event) => event.preventDefault();
  addEventListener("beforeunload", stay);
  // A phone that goes to sleep ends its uploads.
  const awake = await navigator.wakeLock?.request("screen").catch(() => null);
  view.begin(() => stop.abort(stopped()));
  const [rate, before] = [new Rate(sending.total, performance.now()), sending.left.length];
  rate.update(sending.done, performance.now());
  let shown = 0;
  try {
    await sending.send(label, stop.signal, (outgoing) => {
      view.mark(outgoing);
      const now = performance.now();
      if (now - shown < SHOWN_EVERY_MS) return;
      shown = now;
      rate.update(sending.done, now);
      view.update(sending.done, rate);
    });
    view.sent(before, await sending.room().catch(() => null));
  } catch (caught) {
    const error = errors.asLinkError(caught);
    if (ENDS.has(error.constructor)) showFailure(endOf(error));
    else view.failed(error);
  } finally {
    removeEventListener("beforeunload", stay);
    await awake?.release().catch(() => null);
  }
}
