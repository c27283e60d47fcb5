/** What can go wrong, each with what a person reads: what happened, and what to do now. */

/** The root of what this page expects to go wrong; anything else is a defect of the page. */
export class LinkError extends Error {
  /** A short name for the page's state, for style and tests. */
  static kind = "failed";
  static title = "This did not work";
  static advice = "Reload the page, or ask whoever sent you the link for another one.";
  /** Whether trying again can help. */
  static again = false;

  get kind() {
    return this.constructor.kind;
  }
  get title() {
    return this.constructor.title;
  }
  get advice() {
    return this.constructor.advice;
  }
  get again() {
    return this.constructor.again;
  }
}

/** The address has no secret, or one that cannot be right. */
export class IncompleteError extends LinkError {
  static kind = "incomplete";
  static title = "A part of this link is missing";
  static advice =
    "The secret after the # in the address is not there, or not whole. It is taken out of the address as soon as it " +
    "has been read, so a reloaded page lacks it too: open the whole link again from where you got it.";
}

/** The relay knows of no such link, and says so alike of one that never was. */
export class UnknownError extends LinkError {
  static kind = "unknown";
  static title = "There is nothing behind this link";
  static advice =
    "It has ended, or it never existed. Check that you have the whole address, or ask whoever sent it for a new link.";
}

/** The link's time is over. */
export class ExpiredError extends LinkError {
  static kind = "expired";
  static title = "This link has expired";
  static advice = "Whoever made it chose when it ends. Ask them for a new link if you still need one.";
}

/** Whoever made the link has ended it. */
export class RevokedError extends LinkError {
  static kind = "revoked";
  static title = "This link has been withdrawn";
  static advice = "Whoever made it has ended it. Ask them for a new link if you still need one.";
}

/** The link was good for a number of downloads, and they are taken. */
export class UsedUpError extends LinkError {
  static kind = "used-up";
  static title = "This link has been used up";
  static advice =
    "It was made for a limited number of downloads, and all of them are taken. Ask whoever shared it for a new link.";
}

/** Ended, and the relay does not say how. */
export class EndedError extends LinkError {
  static kind = "ended";
  static title = "This link has ended";
  static advice = "It expired, was withdrawn, or was used up. Ask whoever made it for a new link.";
}

/** The password is not the link's. */
export class WrongPasswordError extends LinkError {
  static kind = "wrong-password";
  static title = "That is not the password";
  static advice = "Check capital letters and spaces, and try again.";
  static again = true;
}

/** Too many wrong tries, or too many requests, lately. */
export class TooManyError extends LinkError {
  static kind = "too-many";
  static title = "Too many tries";
  static advice = "Wait a minute, then try again.";
  static again = true;
}

/** All downloads are taken, and one of them may yet be given back. */
export class TakenError extends LinkError {
  static kind = "taken";
  static title = "All downloads of this link are taken";
  static advice = "One may become free again within ten minutes, if nobody goes on with it. Try again then.";
  static again = true;
}

/** Something is not what whoever made the link had pinned. */
export class DamagedError extends LinkError {
  static kind = "damaged";
  static title = "This file is damaged";
  static advice =
    "What the server sent is not what was shared, so it was not saved. Try again later, or tell whoever sent you the link.";
  static again = true;
}

/** No answer, or one that says that the relay is in trouble. */
export class UnreachableError extends LinkError {
  static kind = "unreachable";
  static title = "The server cannot be reached";
  static advice = "Check your connection, then try again. What has come so far is kept while this page stays open.";
  static again = true;
}

/** A link of a later version of Holdfast. */
export class NewerError extends LinkError {
  static kind = "newer";
  static title = "This link is newer than this page";
  static advice = "The server that shows it has to be updated first. Tell whoever sent you the link.";
}

/** The browser lacks what this needs. */
export class BrowserError extends LinkError {
  static kind = "browser";
  static title = "This browser cannot open the link";
  static advice =
    "The page needs an https address and a browser of the last few years. Update it, or open the link in another one.";
}

/** The browser will not write so much. */
export class SavingError extends LinkError {
  static kind = "saving";
  static title = "The file could not be saved";
  static advice = "Check that the disk has room and that the browser may write there, then try again.";
  static again = true;
}

/** The person, or the browser on their behalf, ended it. */
export class StoppedError extends LinkError {
  static kind = "stopped";
  static title = "Stopped";
  static advice = "Nothing was saved.";
  static again = true;
}

/** A defect of the page is told like everything else, and to the console whole. */
export function asLinkError(error) {
  if (error instanceof LinkError) return error;
  console.error(error);
  return new LinkError(String(error));
}
