"""A town: some machines with the product on them, the network between them, people, and time.

What happens is a list of steps. Each has a seed of its own, so that a history can be played without
some of its steps: that is how a failing one is made shorter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Final

from peer.core.disk_types import Kind
from peer.status import FolderState
from protocol.link import LinkKind
from tests.sim.cast import places
from tests.sim.checkers import Broken
from tests.sim.disk import TICK_NS
from tests.sim.faults import Faults
from tests.sim.links import SimLink, connect
from tests.sim.loop import SimLoop
from tests.sim.machine import Machine
from tests.sim.promises import TownWatch
from tests.sim.system import System, Time
from tests.sim.users import NAMES, Account

REST_MAX_S: Final = 1500.0
"""So long, by the town's clock, it may take until everybody shows the same."""
LOOK_S: Final = 20.0
COARSE_TICKS_NS: Final = (1_000_000_000, 2_000_000_000)
"""Of the times of HFS+ and of FAT."""


class _Defects(logging.Handler):
    """What a door of the product caught and logged is a defect here."""

    def __init__(self, found: list[BaseException]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._found.append(error or RuntimeError(record.getMessage()))


class Town:
    """Everything in one history."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(f"town {seed}")
        self.loop = SimLoop(Random(f"loop {seed}"))
        self.time = Time(self.loop.advance)
        self.system = System()
        self.system.random = Random(f"system {seed}").randbytes
        self.account = Account()
        self.names = NAMES
        self.bias = "any"
        self.has_tricks = False
        self.faults = Faults(self)
        self.system.read_back = self.faults.read_back
        self.watch = TownWatch(self)
        self.trace = blake2b(digest_size=16)
        self.is_verbose = False
        self.kind = self.random.choice([LinkKind.TLS, LinkKind.QUIC])
        self.links: dict[tuple[int, int], tuple[SimLink, SimLink]] = {}
        self.walls: set[tuple[int, int]] = set()
        """(from, to): what does not come through."""
        self.machines: list[Machine] = []
        self._defects = _Defects(self.loop.defects)

    def populate(self, count: int, folding: Sequence[int]) -> None:
        """Sets up its machines; some have disks that fold case."""
        for number, place in enumerate(places(count)):
            machine = Machine(number, place, self, number in folding)
            self.machines.append(machine)
            if self.has_tricks:
                machine.person.has_tricks = True
                machine.files.tick_ns = self.random.choice([TICK_NS, TICK_NS, *COARSE_TICKS_NS])

    def note(self, *what: object) -> None:
        """Something happened."""
        self.trace.update(repr(what).encode())
        if self.is_verbose:
            line = " ".join(w.hex() if isinstance(w, bytes) else str(w) for w in what)
            print(f"{self.loop.now_s:10.3f} {line}")

    def check(self) -> None:
        """Raises what went wrong where nobody could be told."""
        for machine in self.machines:
            if machine.network is not None:
                self.watch.check_peers(machine, machine.network.counts)
        if self.watch.broken is not None:
            raise self.watch.broken
        if self.loop.defects:
            raise self.loop.defects[0]

    # ------------------------------------------------------------ people

    def act(self, machine: Machine, random: Random, why: str = "act") -> None:
        """Somebody does something on a machine, and perhaps has it synced as editors do."""
        if not machine.is_powered:
            return
        person, files = machine.person, machine.files
        person.random = random
        is_half_done = not machine.is_up and files.is_half_done()
        before = set(files.walk()) if is_half_done else set()
        self.note(why, machine.name, person.act(self.bias))
        if is_half_done:
            moved = {files.inodes[p.inode].data for p in set(files.walk()) - before}
            self.account.moved_in_the_middle |= moved
        if random.random() < 0.6:
            self.save_safely(machine)

    def save_safely(self, machine: Machine) -> None:
        """All that people did on a machine is on its platter."""
        machine.files.sync_all()
        held = {machine.files.inodes[p.inode].data for p in machine.files.walk()}
        self.watch.safe.setdefault(machine.number, set()).update(held & self.account.saved)

    # ------------------------------------------------------------ machines

    def down(self, machine: Machine, is_power_cut: bool) -> None:
        """A machine's process ends, with the machine or alone; it starts again some time later."""
        if not machine.is_powered:
            return
        machine.cut_power() if is_power_cut else machine.kill()
        self.faults.calm(machine)
        self.loop.call_later(self.loop.random.choice([0.5, 3.0, 40.0]), self.up, machine)

    def up(self, machine: Machine) -> None:
        """It starts again, unless somebody did that before."""
        if machine.life.is_over:
            self.note("start", machine.name)
            machine.start()

    # ------------------------------------------------------------ network

    def break_links(self, machine: Machine) -> None:
        """A machine's links are over."""
        for pair, (one, other) in list(self.links.items()):
            if machine.number in pair:
                one.break_off()
                other.break_off()
                del self.links[pair]

    async def dial(self) -> None:
        """Connects whoever is not connected and could be, for ever."""
        while True:
            for one in self.machines:
                for other in self.machines:
                    if one.number < other.number:
                        self._dial(one, other)
            await asyncio.sleep(self.loop.random.choice([1.0, 5.0]))

    def _dial(self, one: Machine, other: Machine) -> None:
        pair = (one.number, other.number)
        known = self.links.get(pair)
        if known is not None and known[0].is_closed:
            del self.links[pair]
            known = None
        is_open = pair not in self.walls and pair[::-1] not in self.walls
        if known is not None or not is_open or not (one.is_up and other.is_up):
            return
        random = self.loop.random
        ends = connect(self.kind, one.name, other.name, random)
        if random.random() < 0.5:
            ends = ends[::-1]
        self.links[pair] = ends
        self.note("link", one.name, other.name)
        for machine, end, peer in ((one, ends[0], other), (other, ends[1], one)):
            assert machine.network is not None
            assert machine.tasks is not None
            end.set_frame_limit(1 << 24)
            talk = machine.network.run_connection(end, peer.peer_keys)
            machine.tasks.create_task(talk, context=machine.context)

    def wall(self, source: int, target: int) -> None:
        """What one machine sends does not reach another for now."""
        self.walls.add((source, target))
        self._stall()

    def heal(self) -> None:
        """Everything comes through again."""
        self.walls.clear()
        self._stall()

    def unwall(self, machine: int) -> None:
        """What concerns one machine comes through again."""
        self.walls = {wall for wall in self.walls if machine not in wall}
        self._stall()

    def _stall(self) -> None:
        for (first, second), (one, other) in self.links.items():
            for end, way in ((one, (first, second)), (other, (second, first))):
                if way in self.walls:
                    end.is_stalled = True
                elif end.is_stalled:
                    end.resume()

    # ------------------------------------------------------------ at rest

    async def settle(self) -> None:
        """Nothing goes wrong any more; until everybody shows the same and has nothing to say."""
        self.faults.end()
        self.heal()
        for machine in self.machines:
            self.up(machine)
            machine.is_paused = False
            machine.files.sync_all()
        await asyncio.sleep(1.0)
        self.check()
        for machine in self.machines:
            if machine.folder is not None:
                machine.folder.pause(False)
                machine.folder.rescan()
        before: object = None
        until = self.loop.now_s + REST_MAX_S
        while self.loop.now_s < until:
            await asyncio.sleep(LOOK_S)
            self.check()
            now = self._state()
            if now is not None and now == before:
                return
            before = now
        raise Broken(f"the town does not come to rest: {self._restless()}")

    def _state(self) -> object:
        """What everybody holds and has written; None while somebody is at work."""
        frontiers = []
        for machine in self.machines:
            folder = machine.folder
            if folder is None or not machine.is_up:
                return None
            is_settled = folder.progress.state is FolderState.IN_SYNC
            if not is_settled and not self.is_bereft(machine):
                return None
            frontiers.append(folder.engine.book.frontier())
        if any(f != frontiers[0] for f in frontiers):
            return None
        # Who lacks what nobody has prepares for it again and again.
        writes = [m.files.writes for m in self.machines if not self.is_bereft(m)]
        return frontiers, writes

    def is_bereft(self, machine: Machine) -> bool:
        """All that a machine still wants is on no disk any more, whether it was given up or is just
        asked for again.
        """
        fetcher = machine.folder.fetcher if machine.folder is not None else None
        wanted = fetcher.unavailable | fetcher.jobs.keys() if fetcher is not None else set()
        if fetcher is None or fetcher.problems or not wanted:
            return False
        there = set().union(*(m.files.contents(Kind.FILE) for m in self.machines))
        for _, hash_ in wanted:
            data = self.account.by_hash.get(hash_)
            if data is None or data in self.account.owed or data in there:
                return False
        return True

    def is_anybody_bereft(self) -> bool:
        """Whether somebody wants what nobody has."""
        return any(self.is_bereft(machine) for machine in self.machines)

    def _lacks(self, machine: Machine) -> list[tuple[bytes | None, bool, list[str]]]:
        """What a machine got from nobody, whether it is owed, and who has it after all."""
        fetcher = machine.folder.fetcher if machine.folder is not None else None
        out = []
        for _, hash_ in sorted(fetcher.unavailable) if fetcher is not None else ():
            data = self.account.by_hash.get(hash_)
            holders = [m.name for m in self.machines if data in m.files.contents(Kind.FILE)]
            out.append((data, data in self.account.owed, holders))
        return out

    def _restless(self) -> str:
        out = []
        for machine in self.machines:
            folder = machine.folder
            if folder is None:
                out.append(f"{machine.name} is off")
                continue
            progress = folder.progress
            held = sum(e.seq for e in folder.engine.book.frontier())
            fetcher = folder.fetcher
            assert fetcher is not None
            out.append(
                f"{machine.name} {progress.state.value}, holds {held}, writes"
                f" {machine.files.writes}, needs {progress.summary[2:]}, fetches"
                f" {len(fetcher.jobs)}, nobody has {len(fetcher.unavailable)}, staged"
                f" {len(fetcher.staged)} {list(fetcher.problems.values())}"
                f" lacks {self._lacks(machine)}"
                f" {progress.trouble} {list(progress.problems.items())[:3]}"
            )
        return "; ".join(out)

    # ------------------------------------------------------------ begin and end

    async def __aenter__(self) -> Town:
        logging.getLogger("peer").addHandler(self._defects)
        self._dialling = self.loop.create_task(self.dial())
        for machine in self.machines:
            machine.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        logging.getLogger("peer").removeHandler(self._defects)
        self._dialling.cancel()
        for machine in self.machines:
            machine.kill()
        await asyncio.sleep(0.01)
