/** The page's parts that need no browser; `PAGE` is its folder. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const load = (name) => import(pathToFileURL(`${process.env.PAGE}/${name}`));
const { fromBase64Url, toBase64Url } = await load("bytes.js");
const { decode } = await load("cbor.js");
const { segmentNonce } = await load("crypto.js");
const { contentOf, planRuns } = await load("download.js");
const { DamagedError } = await load("errors.js");
const { Rate } = await load("rate.js");
const { Space } = await load("space.js");
const words = await load("words.js");

const LEAF = 65536;
const hex = (text) => Uint8Array.from(Buffer.from(text, "hex"));

test("base64url has one spelling", () => {
  const secret = Uint8Array.from({ length: 32 }, (_, i) => 251 - 7 * i);
  const text = toBase64Url(secret);
  assert.equal(text.length, 43);
  assert.deepEqual(fromBase64Url(text, 32), secret);
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const otherLast = letters[letters.indexOf(text.at(-1)) + 1];
  for (const wrong of [text.slice(1), `${text}=`, text.slice(0, -1) + otherLast, `${text.slice(0, -1)}+`, ""]) {
    assert.equal(fromBase64Url(wrong, 32), null);
  }
});

test("CBOR is read in its one shortest form, and nothing else is", () => {
  assert.deepEqual(decode(hex("8518ff190100 1a00010000 1b0000000100000000 20".replaceAll(" ", ""))), [
    255, 256, 65536, 2 ** 32, -1,
  ]);
  assert.deepEqual(decode(hex("83f6626869420102")), [null, "hi", Uint8Array.of(1, 2)]);
  assert.equal(decode(hex("1bffffffffffffffff")), 2n ** 64n - 1n);
  const refused = [
    "", "1817", "190017", "1a0000ffff", "1b00000000ffffffff", "9f01ff", "5f4101ff", "a0", "c001", "f4", "f7", "f90000",
    "fb0000000000000000", "8201", "0001", "62c328", "43", "9affffffff", "5bffffffffffffffff", "1c", "81".repeat(8) + "01",
  ];
  for (const item of refused) assert.throws(() => decode(hex(item)), DamagedError, item);
});

test("a segment's nonce holds its number and whether it is the last", () => {
  const base = new Uint8Array(12).fill(0xff);
  assert.equal(Buffer.from(segmentNonce(base, 0, false)).toString("hex"), "f".repeat(24));
  assert.equal(Buffer.from(segmentNonce(base, 3, true)).toString("hex"), `${"f".repeat(22)}f8`);
});

const chunk = (pack, offset, size) => ({ pack, offset, size });

test("runs are whole leaves of one pack, and no chunk is left out", () => {
  const chunks = [];
  for (let at = 100, pack = 0; chunks.length < 500; at += 130_000) {
    if (at > 8_000_000) [at, pack] = [50, pack + 1];
    chunks.push(chunk(pack, at, 130_000));
  }
  const mixed = [...chunks, chunk(0, 5_000_000, 10), chunk(0, 100, 10), chunk(0, 100, 10), chunk(1, 70_000, 16 << 20)];
  const runs = [...planRuns(mixed)];
  assert.deepEqual(runs.flatMap((run) => run.chunks), mixed);
  for (const run of runs) {
    assert.equal(run.start % LEAF, 0);
    assert.equal(run.end % LEAF, 0);
    for (const one of run.chunks) {
      assert.equal(one.pack, run.pack);
      assert.ok(one.offset >= run.start && one.offset + one.size <= run.end);
    }
    assert.ok(run.chunks.length === 1 || run.end - run.start <= 2 << 20);
  }
  assert.ok(runs.length < mixed.length / 10, "neighbours share a request");
  assert.deepEqual([...planRuns([])], []);
});

test("few requests run ahead of who reads, and none after who stops", async () => {
  const chunks = Array.from({ length: 100 }, (_, i) => chunk(i, 0, 4 << 20));
  let asked = 0;
  let stopped = 0;
  const fetchRange = (pack, start, end, signal) => {
    asked += 1;
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject((stopped += 1))));
  };
  const reading = contentOf(chunks, fetchRange);
  reading.next().catch(() => {});
  await new Promise(setImmediate);
  assert.equal(asked, 2);
  const controller = new AbortController();
  const other = contentOf(chunks, fetchRange, controller.signal).next();
  controller.abort(new Error("enough"));
  await assert.rejects(other);
  assert.equal(stopped, 2);
});

test("a broken answer costs its memory, and the next one is read whole", async () => {
  const space = new Space(8);
  const body = (pieces, isBroken) =>
    new Response(
      new ReadableStream({
        type: "bytes",
        pull(controller) {
          if (pieces.length > 0) controller.enqueue(Uint8Array.from(pieces.shift()));
          else if (isBroken) controller.error(new Error("reset"));
          else controller.close();
          if (pieces.length === 0 && !isBroken) controller.byobRequest?.respond(0);
        },
      }),
    );
  await assert.rejects(space.read(body([[9, 9]], true), 0, 8));
  assert.equal(await space.read(body([[1, 2], [3]], false), 0, 8), 3);
  assert.equal(await space.read(new Response(Uint8Array.of(4, 5, 6, 7, 8, 9)), 3, 5), 5);
  assert.deepEqual([...space.view(8)], [1, 2, 3, 4, 5, 6, 7, 8]);
});

test("a rate is that of the last seconds, and says nothing too early", () => {
  const rate = new Rate(1000, 0);
  rate.update(10, 1000);
  assert.equal(rate.perSecond, null);
  assert.equal(rate.secondsLeft, null);
  for (let second = 2; second <= 30; second++) rate.update(second < 20 ? second : 20 + (second - 20) * 50, second * 1000);
  assert.equal(Math.round(rate.perSecond), 50);
  assert.equal(Math.round(rate.secondsLeft), 10);
});

test("numbers are as people say them", () => {
  assert.deepEqual([0, 999, 1000, 1549, 99_949, 5.25e9].map(words.sizeWords), ["0 B", "999 B", "1 kB", "1.5 kB", "100 kB", "5.3 GB"]);
  assert.deepEqual([0.2, 42, 90, 3599, 5400, 40_000].map(words.durationWords), ["a second", "42 s", "2 min", "1 h", "1 h 30 min", "11 h"]);
  assert.equal(words.countWords(1), "1 file");
  assert.equal(words.countWords(1200), "1,200 files");
});

test("names show what they are, and are saved as something every disk takes", () => {
  assert.equal(words.shownName("photo\u202egnp.exe"), "photo\ufffdgnp.exe");
  assert.equal(words.shownName("Grüße 日本.txt"), "Grüße 日本.txt");
  assert.equal(words.savedName('a<b>:"c|?*.txt '), "a_b___c___.txt");
  assert.equal(words.savedName("..."), "file");
  assert.equal(words.baseName("a/b/c.txt"), "c.txt");
});
