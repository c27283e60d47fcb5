/**
 * Shows a file without saving it: pixels in an image, or text as text. Neither is a document, so there is nothing that a
 * script, a form or a link of the file's could run in. A PDF is one, and Chromium's viewer refuses a sandbox: it is shown in
 * a tab of its own, which cannot reach this page. Other documents (SVG, HTML) are for saving.
 */

const IMAGES = { avif: "avif", bmp: "bmp", gif: "gif", jpeg: "jpeg", jpg: "jpeg", png: "png", webp: "webp" };
const TEXTS = new Set(
  ("bib c cc cfg conf cpp cs css csv diff env go h hpp html ini java js json jsx kt log lua md mjs org patch php pl ps1 py " +
    "rb rs rst rtf sh sql srt svg tex toml ts tsx txt vtt xml yaml yml").split(" "),
);
/** It is in memory while it is shown; of more text than this nobody reads the end. */
const SIZE_MAX = { image: 32 << 20, pdf: 32 << 20, text: 1 << 20 };
/** A tab that is slow to open finds the bytes still there. */
const KEPT_MS = 60_000;

/** How a file can be shown: "image", "pdf", "text", or null. */
export function previewKind(file) {
  const extension = extensionOf(file);
  const kind = Object.hasOwn(IMAGES, extension)
    ? "image"
    : extension === "pdf" && navigator.pdfViewerEnabled
      ? "pdf"
      : TEXTS.has(extension)
        ? "text"
        : null;
  return kind !== null && file.size <= SIZE_MAX[kind] ? kind : null;
}

function extensionOf(file) {
  return /\.([^./]+)$/.exec(file.path)?.[1].toLowerCase() ?? "";
}

/** An element that shows the file; the pieces are its bytes. What it holds of memory ends with the signal. */
export async function previewOf(file, pieces, signal) {
  if (previewKind(file) === "pdf") return pdfOf(new Blob(pieces, { type: "application/pdf" }), signal);
  const content = new Blob(pieces, { type: `image/${IMAGES[extensionOf(file)]}` });
  return previewKind(file) === "image" ? imageOf(content) : textOf(await content.text());
}

function textOf(text) {
  const element = document.createElement("pre");
  element.tabIndex = 0; // so that the keyboard can scroll it
  element.textContent = text;
  return element;
}

function pdfOf(content, signal) {
  const address = URL.createObjectURL(content);
  signal.addEventListener("abort", () => setTimeout(() => URL.revokeObjectURL(address), KEPT_MS));
  const link = document.createElement("a");
  link.className = "primary";
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  link.textContent = "Open the PDF in a new tab";
  const words = document.createElement("p");
  words.textContent = "It was decrypted and checked here. Your browser's own viewer shows it, apart from this page.";
  const element = document.createElement("div");
  element.className = "elsewhere";
  element.append(link, words);
  return element;
}

async function imageOf(content) {
  const image = document.createElement("img");
  image.src = URL.createObjectURL(content);
  image.alt = "The picture in this file";
  try {
    await image.decode();
  } catch {
    return textOf("This picture cannot be shown here. It can be saved.");
  } finally {
    URL.revokeObjectURL(image.src);
  }
  return image;
}
