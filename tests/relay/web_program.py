"""An endpoint that is a process of its own: what it takes of memory is its own alone.

`python -m tests.relay.web_program HOME` prints its port, and of a link with one pack in it the
pack's path and a ticket.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.relay.web_stage import web_stage

PACK_LEAVES = 128


@dataclass
class WebProgram:
    """The process, and what it serves."""

    pid: int
    port: int
    path: str
    ticket: str

    @property
    def rss(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(each for each in status.splitlines() if each.startswith("VmRSS:"))
        return int(line.split()[1]) << 10


@asynccontextmanager
async def web_program(home: Path) -> AsyncIterator[WebProgram]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "tests.relay.web_program", str(home),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 120)
        yield WebProgram(process.pid, **json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def main(home: Path) -> None:
    async with web_stage(home, is_tls=True) as stage:
        made = await stage.links.made(packs=(PACK_LEAVES,))
        ticket = await stage.ticket(made)
        said = {"port": stage.port, "path": made.pack_path(), "ticket": ticket}
        print(json.dumps(said), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
