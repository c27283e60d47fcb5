/** How fast a transfer goes, and how long it will take: from the last seconds, not from the whole. */

const WINDOW_MS = 8000;
/** Before this nothing honest can be said. */
const FIRST_MS = 1500;

export class Rate {
  constructor(total, now) {
    this.total = total;
    this.marks = [{ at: now, done: 0 }];
  }

  /** `done` bytes are there at `now` (milliseconds). */
  update(done, now) {
    this.marks.push({ at: now, done });
    while (this.marks.length > 2 && now - this.marks[1].at > WINDOW_MS) this.marks.shift();
  }

  /** Bytes a second, or null while it is too early to say. */
  get perSecond() {
    const [first, last] = [this.marks[0], this.marks.at(-1)];
    const elapsed = last.at - first.at;
    return elapsed < FIRST_MS ? null : ((last.done - first.done) * 1000) / elapsed;
  }

  /** Seconds until the whole is there, or null. */
  get secondsLeft() {
    const rate = this.perSecond;
    return rate ? (this.total - this.marks.at(-1).done) / rate : null;
  }
}
