"""How quick the faces are: search over many files and much text, the control API and the screen of
a daemon that has many files.

python -m tests.bench.bench_faces [--files N] [--text-bytes N] [--only search,api,screen]

The screen is measured twice: at rest, and while another device's daemon sends large files, as fast
as it can; more of them are made for as long as it is measured.
"""

from __future__ import annotations

import argparse
import os
import pty
import resource
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, Self

import numpy

from crypto.ids import FolderId, NodeId
from peer.command_line.demo_device import find_free_port
from peer.control.control_client import ControlClient
from peer.errors import PeerError
from peer.search.search import parse
from peer.search.search_index import Document, SearchIndex, connect
from peer.search.search_lookup import SearchLookup
from peer.search.text_formats import words_of
from peer.search.text_reader import ReadText, TextReader
from protocol.nodes import ROOT, Kind, new_node_id

SYLLABLES: Final = "ka lo mi ren tor sa pel du vin o ga shi bra te no ru fel qua sti en".split()
VOCABULARY: Final = 150_000
REPEATS: Final = 40
FOLDER: Final = FolderId(b"f" * 32)
ALONE: Final = ("--no-discovery",)
KEY_PAUSE_S: Final = 0.3
KEY_ROUNDS: Final = 16
SENT_BYTES: Final = 1 << 30
"""Of one of the files that are sent meanwhile; there are always at least two on their way."""
BLOCK_BYTES: Final = 8 << 20
MARK_EVERY: Final = 32 << 10
"""In which bytes no two blocks are the same: less than the smallest chunk of a large file."""
ENDINGS: Final = ("txt", "md", "pdf", "docx", "py", "html")


class Prose:
    """Texts whose words are as unevenly frequent as those of a language (Zipf)."""

    def __init__(self) -> None:
        random = Random(1)
        made = {
            "".join(random.choice(SYLLABLES) for _ in range(random.randint(1, 5)))
            for _ in range(VOCABULARY)
        }
        self.words = numpy.array(sorted(made, key=lambda word: (len(word), word)), dtype=object)
        chances = 1 / numpy.arange(1, len(self.words) + 1) ** 1.05
        self._sums = numpy.cumsum(chances / chances.sum())
        self._random = numpy.random.default_rng(1)

    def text(self, words: int) -> str:
        """One text."""
        chosen = numpy.searchsorted(self._sums, self._random.random(words))
        return " ".join(self.words[numpy.minimum(chosen, len(self.words) - 1)])


class Times(list[float]):
    """How long each repetition took, and below how much processor time of this process all took."""

    spent_s = 0.0


def high_of(times: Sequence[float]) -> float:
    """What 95 of 100 stay below."""
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


def say(what: str, times: Times, limit_ms: float) -> None:
    """One line: the middle, what 95 of 100 stay below, and the processor time of each, which says
    on a busy machine what a quiet one would take.
    """
    high = high_of(times) * 1e3
    middle = statistics.median(times) * 1e3
    verdict = "ok" if high <= limit_ms else f"more than {limit_ms:g} ms"
    spent = times.spent_s / len(times) * 1e3
    print(
        f"{what:36} median {middle:7.2f} ms, p95 {high:7.2f} ms, processor {spent:6.2f} ms"
        f"  {verdict}", flush=True,
    )  # fmt: skip


def timed(act: Callable[[], object], repeats: int = REPEATS) -> Times:
    """How long each repetition takes."""
    out, spent = Times(), time.process_time()
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        out.append(time.perf_counter() - began)
    out.spent_s = time.process_time() - spent
    return out


def fill(index: SearchIndex, prose: Prose, files: int, text_bytes: int) -> None:
    """Makes an index of so many files, and says how fast it was."""
    random, size, spent = Random(2), 0, 0.0
    words = max(10, text_bytes // files // 5)
    for start in range(0, files, 200):
        documents = []
        for number in range(start, min(start + 200, files)):
            name = f"{prose.text(2)} {number}.{random.choice(ENDINGS)}"
            age_ns = (files - number) * 600 * 10**9
            documents.append(
                Document(
                    NodeId(new_node_id(Kind.FILE, random.randbytes)), ROOT, name, prose.text(1),
                    "laptop", Kind.FILE, 1000, time.time_ns() - age_ns, random.randbytes(16),
                )
            )  # fmt: skip
        texts = [prose.text(words) for _ in documents]
        read = [ReadText(text, list(words_of(text))) for text in texts]
        size += sum(map(len, texts))
        began = time.process_time()
        index.note(FOLDER, documents, [])
        unread = index.unread(FOLDER, 1 << 62, 1000)
        index.put_texts(FOLDER, [(one.id, text) for one, text in zip(unread, read, strict=True)])
        spent += time.process_time() - began
    print(
        f"index of {files} files, {size / 1e6:.0f} MB of text, by processor time:"
        f" {files / spent:.0f} files/s, {size / spent / 1e6:.1f} MB/s", flush=True,
    )  # fmt: skip


def keep_up(prose: Prose) -> None:
    """Small documents from bytes to the index, with the process that reads them."""
    reader = TextReader()
    with tempfile.TemporaryDirectory() as directory:
        index = SearchIndex.open(Path(directory) / "search.db")
        random = Random(3)
        small = [prose.text(400).encode() for _ in range(2000)]
        reader.read("a.txt", b"")
        began, spent = time.perf_counter(), time.process_time()
        for start in range(0, len(small), 64):
            part = small[start : start + 64]
            index.note(
                FOLDER,
                [
                    Document(
                        NodeId(new_node_id(Kind.FILE, random.randbytes)), ROOT, f"{start}-{n}.txt",
                        "", "", Kind.FILE, len(data), 10**18, random.randbytes(16),
                    )
                    for n, data in enumerate(part)
                ],
                [],
            )  # fmt: skip
            unread = index.unread(FOLDER, 1 << 62, 64)
            read = [reader.read(one.name, data) for one, data in zip(unread, part, strict=True)]
            index.put_texts(
                FOLDER, [(one.id, text) for one, text in zip(unread, read, strict=True)]
            )
        rate = len(small) / (time.perf_counter() - began)
        size = sum(map(len, small)) / len(small)
        busy = len(small) / (time.process_time() - spent)
        print(
            f"small documents ({size:.0f} bytes), read and indexed: {rate:.0f}/s; by this process's"
            f" processor time {busy:.0f}/s", flush=True,
        )  # fmt: skip
        index.close()
    reader.close()


def measure_search(files: int, text_bytes: int) -> None:
    """Fills an index and asks it."""
    prose = Prose()
    keep_up(prose)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "search.db"
        index = SearchIndex.open(path)
        fill(index, prose, files, text_bytes)
        print(f"search.db: {path.stat().st_size / 1e6:.0f} MB", flush=True)
        lookup = SearchLookup(connect(path, is_reader=True))
        common, middle, rare = prose.words[3], prose.words[400], prose.words[30_000]
        for text in (
            common, middle, rare, f"{common} {middle}", f"{middle} {rare}", rare[:4], "r", "zz",
            f'"{prose.words[0]} {prose.words[1]}"', "type:pdf", f"{middle} type:pdf",
            f"{common} after:2026-01", f"{middle} folder:f", f"{rare} owner:laptop",
            "nothing-at-all",
        ):  # fmt: skip
            query = parse(text)
            folders = None if query.folder is None else [FOLDER]
            say(f"search {text!r}", timed(partial(lookup.find, query, folders, 50)), 30)
        for begun in (rare[:2], rare[:3], rare[:5], "s"):
            say(f"words for {begun!r}", timed(partial(lookup.completions, begun, 8)), 15)
            say(f"names for {begun!r}", timed(partial(lookup.names, begun, 8)), 15)
        index.close()


class Feeder:
    """Makes files to be sent, for as long as it is open."""

    def __init__(self, root: Path, client: ControlClient) -> None:
        self._root, self._client = root, client
        self._block = numpy.frombuffer(os.urandom(BLOCK_BYTES), dtype=numpy.uint64).copy()
        self._files = self._blocks = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._feed)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._is_over.set()
        self._thread.join()

    def left_bytes(self) -> int:
        """What was made and is not on the other side."""
        folders = self._client.status()["folders"]
        got = next((one["bytes"] for one in folders if one["name"] == "sent"), 0)
        return self._files * SENT_BYTES - got

    def _feed(self) -> None:
        while not self._is_over.is_set():
            if self._files < 2 or self.left_bytes() <= SENT_BYTES:
                self._make()
            self._is_over.wait(0.1)

    def _make(self) -> None:
        made = self._root.parent / "made"
        with made.open("wb") as file:
            for _ in range(SENT_BYTES // BLOCK_BYTES):
                self._blocks += 1
                self._block[:: MARK_EVERY // 8] = self._blocks
                file.write(self._block.data)
        made.rename(self._root / f"large {self._files}")
        self._files += 1


@contextmanager
def receiving(directory: Path, client: ControlClient, port: int) -> Iterator[Feeder]:
    """Meanwhile another device, with a daemon of its own, sends files to the one that is asked."""
    home, root = directory / "other", directory / "sent"
    root.mkdir()
    words = [sys.executable, "-m", "peer", "--home", str(home)]
    code = client.invite()["code"]
    join = [*words, "join", code, "--name", "other", "--address", f"127.0.0.1:{port}"]
    subprocess.run(join, check=True, capture_output=True)
    daemon = subprocess.Popen([*words, "run", "--listen", "127.0.0.1:0", *ALONE])
    try:
        other = ControlClient(home)
        wait_until(lambda: other.status() is not None)
        other.add_folder(root, "sent")
        wait_until(lambda: any(one["name"] == "sent" for one in client.status()["folders"]))
        (directory / "got").mkdir()
        client.attach_folder("sent", directory / "got")
        with Feeder(root, client) as feeder:
            wait_until(lambda: client.status()["totals"]["received_bytes"] > 1 << 28)
            yield feeder
    finally:
        daemon.terminate()
        daemon.wait()


def measure_daemon(files: int, which: set[str]) -> None:
    """A real daemon with so many files, asked over its socket and shown on a screen."""
    with tempfile.TemporaryDirectory() as directory:
        home, root = Path(directory) / "home", Path(directory) / "files"
        for number in range(files):
            place = root / f"d{number // 500}"
            if number % 500 == 0:
                place.mkdir(parents=True)
            (place / f"report {number}.txt").write_text(f"the report of day {number}")
        words = [sys.executable, "-m", "peer", "--home", str(home)]
        subprocess.run([*words, "init", "--name", "bench"], check=True, capture_output=True)
        port = find_free_port()
        daemon = subprocess.Popen([*words, "run", "--listen", f"127.0.0.1:{port}", *ALONE])
        try:
            client = ControlClient(home)
            wait_until(lambda: client.status() is not None)
            client.add_folder(root, "bench")
            wait_until(lambda: client.status()["folders"][0]["state"] == "in sync")
            wait_until(lambda: client.status()["folders"][0]["files"] == files)
            if "api" in which:
                wait_until(lambda: bool(client.search(f"day {files - 1}", 1)["found"]))
                times = timed(client.status, 1000)
                high = statistics.quantiles(times, n=100)[-1] * 1e3
                print(f"status with {files} files: p99 {high:.2f} ms (5 ms wanted)", flush=True)
                say("search by the API", timed(lambda: client.search("report day", 50)), 30)
                say("suggestions by the API", timed(lambda: client.suggest("rep", 8)), 15)
            if "screen" in which:
                measure_screen(home)
                with receiving(Path(directory), client, port) as feeder:
                    began, before = time.monotonic(), client.status()["totals"]["received_bytes"]
                    measure_screen(home, "while files come")
                    took_s = time.monotonic() - began
                    came = client.status()["totals"]["received_bytes"] - before
                    left = feeder.left_bytes()
                    print(
                        f"  meanwhile {came / took_s / 1e6:.0f} MB/s came, and {left / 1e6:.0f} MB"
                        " were still to come", flush=True,
                    )  # fmt: skip
        finally:
            daemon.terminate()
            daemon.wait()


def wait_until(
    condition: Callable[[], bool], deadline_s: float = 1800, interval_s: float = 0.25
) -> None:
    """Asks until it is so."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (PeerError, IndexError):
            pass
        time.sleep(interval_s)
    raise TimeoutError


def measure_screen(home: Path, when: str = "at rest") -> None:
    """The screen in a terminal of 120 by 40, as a person sees it: bytes that come out. What it
    spends on a key, and on looking meanwhile, is its own processor time.
    """
    began = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="120", LINES="40")
        os.execv(sys.executable, [sys.executable, "-m", "tui", "--home", str(home)])
    read_until(terminal, b"bench")
    print(f"screen {when}: first paint with the folder's name {time.perf_counter() - began:.2f} s")
    read_until(terminal, b"Invite")  # the first of its keys, at the foot
    print(f"screen: there with all its keys after {time.perf_counter() - began:.2f} s", flush=True)
    drain(terminal, 3)
    times, spent = Times(), spent_by(child)
    busy: list[float] = []
    # Each of these changes what is to be seen: the heading of a table that was not shown before.
    for key, heading in ((b"2", b"round trip"), (b"6", b"when"), (b"5", b"relay")) * KEY_ROUNDS:
        began, ran = time.perf_counter(), ran_s(child)
        os.write(terminal, key)
        read_until(terminal, heading)
        times.append(time.perf_counter() - began)
        busy.append(ran_s(child) - ran)
        drain(terminal, KEY_PAUSE_S)
    times.spent_s = spent_by(child) - spent
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    say(f"screen {when}: key to paint", times, 50)
    print(
        f"  of processor time until it is painted: median {statistics.median(busy) * 1e3:.1f} ms,"
        f" p95 {high_of(busy) * 1e3:.1f} ms; that above is with {KEY_PAUSE_S} s of looking after"
        f" each; load {load}", flush=True,
    )  # fmt: skip
    if when == "at rest":
        before = spent_by(child)
        drain(terminal, 20)
        idle = (spent_by(child) - before) / 20
        print(f"screen: idle {idle:.2%} of a core (1 % wanted)", flush=True)
    os.kill(child, 9)
    os.waitpid(child, 0)


def read_until(terminal: int, mark: bytes, deadline_s: float = 60) -> None:
    """Reads what is painted until it says so."""
    shown, end = b"", time.monotonic() + deadline_s
    while mark not in shown:
        if not select.select([terminal], [], [], end - time.monotonic())[0]:
            raise TimeoutError(f"{mark!r} was not painted")
        shown += os.read(terminal, 1 << 16)


def drain(terminal: int, seconds: float) -> None:
    """Reads what is painted meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            os.read(terminal, 1 << 16)


def ran_s(process: int) -> float:
    """Seconds for which its threads were on a processor, to the nanosecond; Linux only."""
    tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def spent_by(process: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--text-bytes", type=int, default=10**9)
    parser.add_argument("--only", default="search,api,screen")
    given = parser.parse_args()
    parts = set(given.only.split(","))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "search" in parts:
        measure_search(given.files, given.text_bytes)
    if parts & {"api", "screen"}:
        measure_daemon(given.files, parts)
