/**
 * A service worker that turns a stream from the page into a download of the browser's. It sees nothing but addresses
 * below its own folder, answers those that the page has announced to it, keeps nothing, and asks the network nothing.
 */

const PREFIX = "/s/-/save/";
const streams = new Map();

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("message", ({ data }) => {
  if (!data.open) return; // to be woken was all
  streams.set(data.open, { name: data.name, size: data.size, body: streamFrom(data.port) });
  data.port.postMessage("ready");
});

self.addEventListener("fetch", (event) => {
  const { pathname } = new URL(event.request.url);
  if (!pathname.startsWith(PREFIX)) return;
  const key = pathname.slice(PREFIX.length);
  const stream = streams.get(key);
  streams.delete(key);
  event.respondWith(stream ? download(stream) : new Response(null, { status: 404 }));
});

function download({ name, size, body }) {
  return new Response(body, {
    headers: {
      "content-type": "application/octet-stream",
      "content-length": String(size),
      "content-disposition": `attachment; filename*=UTF-8''${encoded(name)}`,
      "content-security-policy": "default-src 'none'; sandbox",
      "x-content-type-options": "nosniff",
    },
  });
}

/** As RFC 8187 wants it: encodeURIComponent leaves a few characters that mean something there. */
function encoded(name) {
  return encodeURIComponent(name).replace(/['()*]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);
}

/**
 * Each pull asks the page for one more piece, so the browser's disk sets the pace. There is one piece in the queue; when it
 * is taken, the one before it was written, and its memory goes back to the page, which fills it again: left to the collector
 * of garbage, a hundred megabytes of pieces would pile up here.
 */
function streamFrom(port) {
  let settle = () => {};
  let [queued, taken] = [null, null];
  return new ReadableStream({
    start(controller) {
      port.onmessage = ({ data }) => {
        if (data === "end") controller.close();
        else if (data === "abort") controller.error(new Error("not whole"));
        else {
          controller.enqueue(data);
          queued = data;
        }
        settle();
      };
    },
    pull() {
      port.postMessage({ more: true, back: taken?.buffer }, taken ? [taken.buffer] : []);
      [queued, taken] = [null, queued];
      return new Promise((resolve) => {
        settle = resolve;
      });
    },
    cancel() {
      port.postMessage("cancelled");
    },
  });
}
