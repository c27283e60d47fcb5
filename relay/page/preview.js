/**
 * Shows a file without saving it: pixels in an image, or text as text. Neither is a document, so there is nothing that a
 * script, a form or a link of the file's could run in. What a browser shows as a document (PDF, SVG, HTML) is for saving.
 */

const IMAGES = { avif: "avif", bmp: "bmp", gif: "gif", jpeg: "jpeg", jpg: "jpeg", png: "png", webp: "webp" };
const TEXTS = new Set(
  ("bib c cc cfg conf cpp cs css csv diff env go h hpp html ini java js json jsx kt log lua md mjs org patch php pl ps1 py " +
    "rb rs rst rtf sh sql srt svg tex toml ts tsx txt vtt xml yaml yml").split(" "),
);
/** It is in memory while it is shown; of more text than this nobody reads the end. */
const SIZE_MAX = { image: 32 << 20, text: 1 << 20 };

/** How a file can be shown: "image", "text", or null. */
export function previewKind(file) {
  const extension = extensionOf(file);
  const kind = Object.hasOwn(IMAGES, extension) ? "image" : TEXTS.has(extension) ? "text" : null;
  return kind !== null && file.size <= SIZE_MAX[kind] ? kind : null;
}

function extensionOf(file) {
  return /\.([^./]+)$/.exec(file.path)?.[1].toLowerCase() ?? "";
}

/** An element that shows the file; the pieces are its bytes. */
export async function previewOf(file, pieces) {
  const content = new Blob(pieces, { type: `image/${IMAGES[extensionOf(file)]}` });
  return previewKind(file) === "image" ? imageOf(content) : textOf(await content.text());
}

function textOf(text) {
  const element = document.createElement("pre");
  element.tabIndex = 0; // so that the keyboard can scroll it
  element.textContent = text;
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
