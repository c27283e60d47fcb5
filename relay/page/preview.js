/**
 * Shows a file without saving it, in a frame that may do nothing: no script, no form, no link out, an origin of its own.
 * Only pictures of pixels and plain text are shown; whatever else could act is for saving.
 */

import { concat } from "./bytes.js";

const IMAGES = { avif: "avif", bmp: "bmp", gif: "gif", jpeg: "jpeg", jpg: "jpeg", png: "png", webp: "webp" };
const TEXTS = new Set(
  ("bib c cc cfg conf cpp cs css csv diff env go h hpp html ini java js json jsx kt log lua md mjs org patch php pl ps1 py " +
    "rb rs rst rtf sh sql srt svg tex toml ts tsx txt vtt xml yaml yml").split(" "),
);
const IMAGE_SIZE_MAX = 32 << 20;
const TEXT_SIZE_MAX = 1 << 20;

/** How a file can be shown: "image", "text", or null. */
export function previewKind(file) {
  const extension = /\.([^./]+)$/.exec(file.path)?.[1].toLowerCase() ?? "";
  if (extension in IMAGES && file.size <= IMAGE_SIZE_MAX) return "image";
  if (TEXTS.has(extension) && file.size <= TEXT_SIZE_MAX) return "text";
  return null;
}

/** A frame that shows the file's bytes. */
export function previewFrame(file, pieces) {
  const bytes = concat(...pieces);
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "");
  frame.title = "The file's content";
  frame.srcdoc = previewKind(file) === "image" ? imageDocument(file, bytes) : textDocument(bytes);
  return frame;
}

function textDocument(bytes) {
  const text = document.createElement("pre");
  text.textContent = new TextDecoder().decode(bytes);
  return documentOf(text);
}

function imageDocument(file, bytes) {
  const image = document.createElement("img");
  const extension = file.path.slice(file.path.lastIndexOf(".") + 1).toLowerCase();
  image.src = `data:image/${IMAGES[extension]};base64,${base64(bytes)}`;
  image.alt = "";
  return documentOf(image);
}

/** The text of a document with one element: made as a tree and then written, so that nothing in it can become markup. */
function documentOf(content) {
  const made = document.implementation.createHTMLDocument("Preview");
  const style = made.createElement("link");
  style.rel = "stylesheet";
  style.href = new URL("/s/-/preview.css", location.href).href;
  const scheme = made.createElement("meta");
  scheme.name = "color-scheme";
  scheme.content = "light dark";
  made.documentElement.lang = "";
  made.head.append(scheme, style);
  made.body.append(content);
  return `<!doctype html>${made.documentElement.outerHTML}`;
}

function base64(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(binary);
}
