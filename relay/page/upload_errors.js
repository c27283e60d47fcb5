/** What can go wrong with sending, each with what a person reads: what happened, and what to do now. */

import { LinkError } from "./errors.js";

/** A file is larger than the link or the relay takes. */
export class TooLargeError extends LinkError {
  static kind = "too-large";
  static title = "A file is too large";
  static advice = "Whoever gave you the link takes no files of that size. Remove it, and send the others.";
}

/** The link has as many files as it takes. */
export class TooManyFilesError extends LinkError {
  static kind = "too-many-files";
  static title = "This link takes no more files";
  static advice = "The files that were sent before are safe. Ask whoever gave you the link for a new one.";
}

/** The link's bytes are used up, or the relay's disk is. */
export class NoRoomError extends LinkError {
  static kind = "no-room";
  static title = "There is no room for all of this";
  static advice = "The files that were sent before are safe. Send fewer or smaller ones, or ask for a new link.";
}

/** A file cannot be read any more. */
export class ReadingError extends LinkError {
  static kind = "reading";
  static title = "A file could not be read";
  static advice = "It was changed, moved or deleted since you chose it. Remove it from the list and choose it again.";
}

/** The connection broke, and has not come back. */
export class BrokenError extends LinkError {
  static kind = "broken";
  static title = "The connection broke";
  static advice = "Nothing that was sent is lost. When you are online again, press Go on; or open the link again and choose the same files.";
  static again = true;
}

/** How a link has ended that files were being sent by. */
export function endOf(error) {
  const advice = "No more files can be sent by it. Those that were sent whole arrive; for others, ask whoever gave you the link for a new one.";
  return { kind: error.kind, title: error.title, advice };
}

/** What a relay's refusal means. */
export const REFUSALS = { "too large": TooLargeError, "too many": TooManyFilesError, "no room": NoRoomError };
