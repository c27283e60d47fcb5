/** Numbers, times and names as a person reads them. */

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** A number of bytes, as `4.2 MB`. */
export function sizeWords(size) {
  let unit = 0;
  let value = size;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit > 0 && value < 9.95 ? 1 : 0;
  return `${value.toLocaleString(undefined, { maximumFractionDigits: digits })} ${UNITS[unit]}`;
}

/** How many files, in words. */
export function countWords(count) {
  return count === 1 ? "1 file" : `${count.toLocaleString()} files`;
}

/** A time to wait, rounded the way people say it. */
export function durationWords(seconds) {
  if (seconds < 1.5) return "a second";
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  if (seconds < 3570) return `${Math.round(seconds / 60)} min`;
  const minutes = Math.round(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours >= 10) return `${Math.round(minutes / 60)} h`;
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
}

/** When a link ends, with the time only where the day is near; `seconds` are since 1970. */
export function endWords(seconds, now = Date.now()) {
  const end = new Date(seconds * 1000);
  const isNear = end.getTime() - now < 36 * 3600 * 1000;
  const style = isNear ? { weekday: "long", hour: "numeric", minute: "2-digit" } : { dateStyle: "long" };
  return end.toLocaleString(undefined, style);
}

/**
 * A name of somebody else's making, as it may be shown: what turns the direction of text around, or does not show,
 * would let `exe.gpj` look like a picture.
 */
export function shownName(name) {
  return name.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, "\ufffd");
}

/** A name to save under on any system; the browser adds its own care. */
export function savedName(name) {
  const plain = shownName(name).replace(/[\ufffd<>:"/\\|?*]/g, "_").replace(/[. ]+$/, "");
  return plain.replace(/^\.+/, "_") || "file";
}

/** The last part of a path. */
export function baseName(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}
