/** The upload view on the screen. Names of files are put in as text, never as markup. */

import { copyOf, show } from "./ui.js";
import { filesOf } from "./upload_drop.js";
import { baseName, countWords, durationWords, endWords, shownName, sizeWords } from "./words.js";

const PROMISE = "Encrypted in your browser. Only whoever made this link can read what you send; the server cannot.";
/** More rows make a phone stutter; the others are sent all the same. */
const ROWS_MAX = 500;

function begunWords(count) {
  return count === 1 ? "Choose it again, unchanged, and it goes on where it was." : "Choose them again, unchanged, and they go on where they were.";
}

/** What the person sees and does; `actions` are called for it. */
export class UploadView {
  constructor(upload, room, begun, actions) {
    this.upload = upload;
    this.room = room;
    this.actions = actions;
    this.rows = new Map();
    this.isBusy = false;
    document.title = "Send files · Holdfast";
    document.getElementById("promise").textContent = PROMISE;
    this.slots = show("upload");
    const { slots } = this;
    slots.name.textContent = `Send files to “${shownName(upload.name)}”`;
    slots.facts.textContent = this.facts();
    slots.choose.addEventListener("click", () => slots.input.click());
    slots.input.addEventListener("change", () => {
      this.add([...slots.input.files].map((file) => ({ file, path: file.name })));
      slots.input.value = "";
    });
    slots.send.addEventListener("click", () => this.actions.onSend(slots.label.value.trim()));
    slots.stop.addEventListener("click", () => this.onStop?.());
    this.takeDrops();
    slots.label.value = begun.label;
    if (begun.count) this.say(`${countWords(begun.count)} not sent whole`, begunWords(begun.count), "begun");
    document.getElementById("main").focus({ preventScroll: true });
  }

  facts() {
    const { room, upload } = this;
    const least = Math.min(upload.fileSizeMax, room.bytes_max);
    return [
      `${countWords(Math.max(0, room.files_max - room.files))} and ${sizeWords(Math.max(0, room.bytes_max - room.bytes))} left`,
      ...(least < room.bytes_max ? [`each up to ${sizeWords(least)}`] : []),
      ...(upload.expires ? [`until ${endWords(upload.expires)}`] : []),
    ].join(" · ");
  }

  takeDrops() {
    const { drop } = this.slots;
    const onWindow = (event) => event.preventDefault(); // a file dropped beside would be opened
    addEventListener("dragover", onWindow);
    addEventListener("drop", onWindow);
    drop.addEventListener("dragover", () => drop.classList.add("over"));
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", async (event) => {
      drop.classList.remove("over");
      if (!this.isBusy) this.add(await filesOf(event.dataTransfer));
    });
  }

  /** Adds files to the list; those that the link does not take are named and left out. */
  async add(found) {
    const refused = [];
    const begun = await Promise.all(found.map(({ file, path }) => this.actions.wasBegun(file, path)));
    let [files, bytes] = [this.room.files, this.room.bytes];
    for (const { file, wasBegun } of this.actions.left()) {
      if (wasBegun) continue;
      files += 1;
      bytes += file.size;
    }
    for (const [index, { file, path }] of found.entries()) {
      const wasBegun = begun[index]; // what has its place already is among those that the link has
      const why = wasBegun ? "" : this.refusal(file, files, bytes);
      if (why) {
        refused.push(`${shownName(path)}: ${why}`);
        continue;
      }
      if (!wasBegun) {
        files += 1;
        bytes += file.size;
      }
      const outgoing = this.actions.onAdd(file, path);
      outgoing.wasBegun = wasBegun;
      this.addRow(outgoing);
    }
    this.say(refused.length ? "Not added" : "", refused.slice(0, 5).join("; "), refused.length ? "refused" : "");
    this.refresh();
  }

  refusal(file, files, bytes) {
    const most = Math.min(this.room.file_bytes_max, this.upload.fileSizeMax);
    if (file.size > most) return `larger than ${sizeWords(most)}`;
    if (files >= this.room.files_max) return "the link takes no more files";
    if (bytes + file.size > this.room.bytes_max) return "more than the link has room for";
    return "";
  }

  addRow(outgoing) {
    if (this.rows.size >= ROWS_MAX) return;
    const [row, slots] = copyOf("upload-row");
    const name = baseName(outgoing.path);
    slots.folder.textContent = shownName(outgoing.path.slice(0, outgoing.path.length - name.length));
    slots.name.textContent = shownName(name);
    slots.size.textContent = sizeWords(outgoing.file.size) + (outgoing.wasBegun ? " · was begun, and goes on" : "");
    slots.remove.setAttribute("aria-label", `Remove ${shownName(name)}`);
    slots.remove.addEventListener("click", () => {
      this.actions.onRemove(outgoing);
      this.rows.delete(outgoing);
      row.remove();
      this.refresh();
      this.slots.choose.focus();
    });
    this.rows.set(outgoing, slots);
    this.slots.files.append(row);
  }

  refresh() {
    const left = this.actions.left();
    const { send } = this.slots;
    send.disabled = this.isBusy || left.length === 0;
    const hasBegun = left.some((outgoing) => outgoing.hasBegun || outgoing.wasBegun);
    const size = left.reduce((sum, each) => sum + each.file.size, 0);
    const what = `${countWords(left.length)} (${sizeWords(size)})`;
    send.textContent = left.length === 0 ? "Send" : hasBegun ? `Go on with ${what}` : `Send ${what}`;
  }

  begin(onStop) {
    this.onStop = onStop;
    this.lock(true);
    this.say("", "", "");
    const { transfer, pace, progress, stop } = this.slots;
    pace.textContent = "Starting…";
    progress.value = 0;
    transfer.hidden = false;
    stop.focus();
  }

  update(done, rate) {
    this.slots.progress.value = rate.total === 0 ? 1 : done / rate.total;
    const words = [`${sizeWords(done)} of ${sizeWords(rate.total)}`];
    if (rate.perSecond !== null) words.push(`${sizeWords(rate.perSecond)}/s`);
    if (rate.secondsLeft !== null) words.push(`${durationWords(rate.secondsLeft)} left`);
    this.slots.pace.textContent = words.join(" · ");
  }

  /** How far one file is. */
  mark(outgoing) {
    const slots = this.rows.get(outgoing);
    if (!slots) return;
    const size = sizeWords(outgoing.file.size);
    slots.remove.hidden = outgoing.isWhole;
    const done = outgoing.isWhole ? `${size} · sent ✓` : `${sizeWords(outgoing.done)} of ${size}`;
    const anew = outgoing.isAnew ? " · begun anew: it is not what was begun before" : "";
    slots.size.textContent = outgoing.isChecking ? `${size} · comparing with what was sent…` : done + anew;
  }

  /** All are there; `room` is what the link takes yet, if that is known. */
  sent(count, room) {
    if (room) {
      this.room = room;
      this.slots.facts.textContent = this.facts();
    }
    this.end();
    this.say(`${countWords(count)} sent`, "They are on their way, sealed. You can close this page, or send more.", "sent");
    this.slots.choose.focus();
  }

  failed({ title, advice, kind }) {
    this.end();
    const words = kind === "stopped" ? "What was sent stays; Go on sends the rest. If you close the page, open the link again within the hour." : advice;
    this.say(title, words, kind);
    this.slots.send.focus();
  }

  end() {
    this.slots.transfer.hidden = true;
    this.lock(false);
  }

  lock(isBusy) {
    this.isBusy = isBusy;
    for (const control of document.querySelectorAll(".upload button, .upload input")) {
      control.disabled = isBusy && control !== this.slots.stop;
    }
    this.refresh();
  }

  say(title, advice, kind) {
    const { outcome } = this.slots;
    const strong = document.createElement("strong");
    strong.textContent = title;
    outcome.replaceChildren(...(title ? [strong, advice] : []));
    outcome.classList.toggle("bad", Boolean(title) && !["begun", "sent", "stopped"].includes(kind));
    outcome.dataset.kind = kind;
    if (title) outcome.scrollIntoView({ block: "nearest" });
  }
}
