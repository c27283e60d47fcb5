/** What a person drops: files, and the files of directories with the paths that they have there. */

const FILES_MAX = 10_000;

/** `[{file, path}]` of a drop. */
export async function filesOf(dataTransfer) {
  // Asked for at once: after the first pause a browser has forgotten what was dropped.
  const entries = [...dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [...dataTransfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  for (const entry of entries) await collect(entry, "", found);
  return found;
}

async function collect(entry, above, found) {
  if (found.length >= FILES_MAX) return;
  const path = above + entry.name;
  if (entry.isFile) {
    found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A directory comes in parts, until there is none left.
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return;
    for (const each of part) await collect(each, `${path}/`, found);
  }
}
