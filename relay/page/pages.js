/** Pages: what a link gives that its manifest does not list itself. They lie in packs and are fetched and opened as chunks are. */

import { contentOf } from "./download.js";
import { readChunkPage, readFilePage, shared } from "./manifest.js";

/** The files and directories of a manifest, those in its pages too; of large files the chunks are not known yet. */
export async function withFiles(manifest, fetchRange) {
  if (manifest.pages.length === 0) return shared(manifest, manifest.entries);
  const entries = [...manifest.entries];
  let at = 0;
  for await (const bytes of contentOf(manifest.pages.map((page) => page.chunk), fetchRange)) {
    entries.push(...readFilePage(bytes, manifest, manifest.pages[at++].prefix));
  }
  return shared(manifest, entries);
}

/** Has each of these files know its chunks. */
export async function withChunks(files, manifest, fetchRange, signal) {
  for (const file of files) {
    if (file.pages.length === 0) continue;
    const pages = [];
    for await (const bytes of contentOf(file.pages, fetchRange, signal)) pages.push(bytes);
    readChunkPage(file, pages, manifest);
  }
}
