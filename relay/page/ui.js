/** The page's states on the screen. Whatever comes from a link is put in as text, never as markup. */

import { baseName, countWords, durationWords, endWords, shownName, sizeWords } from "./words.js";

/** More rows at once make a phone stutter. */
const ROWS_AT_ONCE = 200;

const FILE_ICON = ["M6 3h8l4 4v14H6z", "M14 3v4h4"];
const FOLDER_ICON = ["M3 6h6l2 2.5h10V19H3z"];

/** Puts a copy of a template in the main place; gives its parts by their names. */
export function show(name) {
  const [card, slots] = copyOf(name);
  const main = document.getElementById("main");
  main.replaceChildren(card);
  main.dataset.state = name;
  return slots;
}

/** A copy of a template, and its parts by their names. */
export function copyOf(name) {
  const content = document.getElementById(name).content.cloneNode(true);
  const slots = {};
  for (const element of content.querySelectorAll("[data-slot]")) slots[element.dataset.slot] = element;
  return [content.firstElementChild, slots];
}

/** Says that something takes its time. */
export function showOpening(title) {
  show("opening").title.textContent = title;
}

/** Says what went wrong and what to do; `onAgain` is offered where it can help. */
export function showFailure(error, onAgain) {
  const slots = show("failure");
  const main = document.getElementById("main");
  main.dataset.error = error.kind;
  slots.title.textContent = error.title;
  slots.advice.textContent = error.advice;
  slots.again.hidden = !(error.again && onAgain);
  slots.again.addEventListener("click", () => onAgain());
  main.focus({ preventScroll: true });
}

/** Asks for the password, until it is given; `trouble` says why the last one did not do. */
export function askPassword(trouble) {
  const slots = show("password");
  slots.trouble.textContent = trouble ? `${trouble.title}. ${trouble.advice}` : "";
  slots.field.setAttribute("aria-invalid", String(Boolean(trouble)));
  slots.show.addEventListener("click", () => {
    const isShown = slots.field.type === "password";
    slots.field.type = isShown ? "text" : "password";
    slots.show.setAttribute("aria-pressed", String(isShown));
    slots.show.textContent = isShown ? "Hide" : "Show";
    slots.field.focus();
  });
  slots.field.focus();
  return new Promise((resolve) => {
    slots.form.addEventListener("submit", (event) => {
      event.preventDefault();
      resolve(slots.field.value);
    });
  });
}

/**
 * Shows what the link gives. `onSaveAll()`, `onSave(file)` and `onView(file)` are called for what the person chooses.
 * Returns the place where a transfer is shown.
 */
export function showFiles(shared, actions) {
  const slots = show("ready");
  const [only] = shared.files;
  const isOne = shared.files.length === 1 && shared.directories.length === 0;
  slots.mark.append(icon(isOne ? FILE_ICON : FOLDER_ICON));
  slots.name.textContent = shownName(isOne ? baseName(only.path) : shared.name || countWords(shared.files.length));
  slots.facts.textContent = [
    ...(isOne ? [] : [countWords(shared.files.length)]),
    sizeWords(shared.size),
    ...(shared.expires ? [`until ${endWords(shared.expires)}`] : []),
  ].join(" · ");
  slots.save.textContent = isOne ? "Save" : "Save all as a zip";
  slots.save.addEventListener("click", () => (isOne ? actions.onSave(only) : actions.onSaveAll()));
  if (isOne && actions.canView(only)) {
    slots.view.hidden = false;
    slots.view.addEventListener("click", () => actions.onView(only));
  }
  if (!isOne) listFiles(slots, shared, actions);
  // Of a long list the browser would show the middle.
  document.getElementById("main").focus({ preventScroll: true });
  return new TransferPlace(slots);
}

function listFiles(slots, shared, actions) {
  slots.list.hidden = false;
  let shown = 0;
  const showMore = () => {
    const next = shared.files.slice(shown, shown + ROWS_AT_ONCE);
    slots.files.append(...next.map((file) => rowOf(file, shared.name, actions)));
    const first = slots.files.children[shown];
    if (shown > 0) first.querySelector("button:not([hidden])").focus();
    shown += next.length;
    slots.more.hidden = shown === shared.files.length;
    slots.more.textContent = `Show more (${(shared.files.length - shown).toLocaleString()} left)`;
  };
  slots.more.addEventListener("click", showMore);
  showMore();
}

function rowOf(file, top, { canView, onSave, onView }) {
  const [row, slots] = copyOf("row");
  const name = baseName(file.path);
  const folder = file.path.slice(0, file.path.length - name.length);
  // The name of the folder that all is in stands above the list.
  slots.folder.textContent = shownName(folder.startsWith(`${top}/`) ? folder.slice(top.length + 1) : folder);
  slots.folder.title = slots.folder.textContent; // a long one is cut off
  slots.name.textContent = shownName(name);
  slots.size.textContent = sizeWords(file.size);
  slots.save.setAttribute("aria-label", `Save ${shownName(name)}`);
  slots.save.addEventListener("click", () => onSave(file));
  if (canView(file)) {
    slots.view.hidden = false;
    slots.view.setAttribute("aria-label", `View ${shownName(name)}`);
    slots.view.addEventListener("click", () => onView(file));
  }
  return row;
}

function icon(paths) {
  const space = "http://www.w3.org/2000/svg";
  const image = document.createElementNS(space, "svg");
  image.setAttribute("viewBox", "0 0 24 24");
  for (const d of paths) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", d);
    image.append(path);
  }
  return image;
}

/** Where the one transfer of the page is shown: its progress, and how the last one ended. */
class TransferPlace {
  constructor(slots) {
    this.slots = slots;
    slots.stop.addEventListener("click", () => this.onStop?.());
  }

  /** From the press of a button on: whoever presses twice wants it once. */
  prepare() {
    this.chosen = document.activeElement;
    this.slots.outcome.replaceChildren();
    this.lock(true);
  }

  begin(onStop) {
    this.onStop = onStop;
    this.slots.pace.textContent = "Starting…";
    this.slots.progress.value = 0;
    this.slots.transfer.hidden = false;
    this.slots.stop.focus({ preventScroll: true }); // it stays in sight over the list
  }

  update(done, rate) {
    this.slots.progress.value = rate.total === 0 ? 1 : done / rate.total;
    const words = [`${sizeWords(done)} of ${sizeWords(rate.total)}`];
    if (rate.perSecond !== null) words.push(`${sizeWords(rate.perSecond)}/s`);
    if (rate.secondsLeft !== null) words.push(`${durationWords(rate.secondsLeft)} left`);
    this.slots.pace.textContent = words.join(" · ");
  }

  /** Says how it ended; of nothing that began, nothing has to be said. */
  end({ title, advice, kind }) {
    const hasBegun = !this.slots.transfer.hidden;
    this.slots.transfer.hidden = true;
    this.lock(false);
    this.chosen?.focus({ preventScroll: true });
    if (kind === "stopped" && !hasBegun) return;
    const strong = document.createElement("strong");
    strong.textContent = title;
    this.slots.outcome.replaceChildren(strong, advice);
    this.slots.outcome.classList.toggle("bad", !["saved", "stopped"].includes(kind));
    this.slots.outcome.dataset.kind = kind;
  }

  /** One transfer at a time: two would halve each other, and both want their memory. */
  lock(isBusy) {
    for (const button of document.querySelectorAll(".ready button")) {
      button.disabled = isBusy && button !== this.slots.stop;
    }
  }
}

/** Opens the viewer for a file; `load(signal)` gives the frame, or fails. Closing it ends the loading. */
export async function view(file, load) {
  const viewer = document.getElementById("viewer");
  const body = document.getElementById("viewer-body");
  document.getElementById("viewer-name").textContent = shownName(baseName(file.path));
  const spinner = document.createElement("div");
  spinner.className = "spinner";
  body.replaceChildren(spinner);
  const stop = new AbortController();
  const closed = () => {
    stop.abort();
    body.replaceChildren();
  };
  viewer.addEventListener("close", closed, { once: true });
  document.getElementById("viewer-close").onclick = () => viewer.close();
  viewer.showModal();
  let content;
  try {
    content = await load(stop.signal);
  } catch (error) {
    content = document.createElement("p");
    content.textContent = `${error.title ?? "This did not work"}. ${error.advice ?? ""}`;
  }
  if (!stop.signal.aborted) body.replaceChildren(content);
}
