"""Examples of each command, as `--help` and the manual page show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "": (
        ("init --name laptop && holdfast run", "make the first device, and run it"),
        ("service install", "run it whenever you are logged in"),
        ("folder add ~/Documents --name docs", "sync a directory"),
        ("invite", "show the code for `holdfast join CODE --name NAME`"),
        ("restore report.odt --at 3d", "bring back what it was three days ago"),
        ("log --since 1d", "who did what since yesterday"),
    ),
    "init": (
        ("init --name laptop", "the first device"),
        ("init --name laptop --passphrase", "its key locked"),
    ),
    "run": (
        ("run", "until Ctrl-C"),
        ("run --listen 0.0.0.0:22330 --no-discovery", "at one port, unseen"),
    ),
    "stop": (("stop", "end the daemon of this home"),),
    "invite": (("invite", "a code that holds for ten minutes"),),
    "join": (
        ("join 7-crossover-clockwork --name phone", "on this network"),
        ('join --name phone --relay "$RELAY"', "on another one; the code is asked for"),
    ),
    "folder add": (("folder add ~/Documents --name docs", "sync a directory"),),
    "folder list": (("folder list", "with their states"),),
    "folder attach": (("folder attach docs ~/Documents", "put what is offered there"),),
    "folder remove": (("folder remove docs", "the files stay"),),
    "relay run": (("relay run --listen 0.0.0.0:4433", "for whoever knows its address"),),
    "relay config": (("relay config > relay.toml", "a file to begin with"),),
    "relay invite": (("relay invite --devices 3 --days 7", "a token for three devices"),),
    "relay invitations": (("relay invitations", "whom it lets in"),),
    "relay withdraw": (("relay withdraw 3f2a", "and the devices that came by it"),),
    "relay add": (('relay add "$RELAY"', "the address as the relay prints it"),),
    "relay list": (("relay list", "and whether there is a link to each"),),
    "relay remove": (("relay remove relay.example", "on all of your devices"),),
    "backup add": (
        ('backup add docs --nodes "$RELAY1,$RELAY2,$RELAY3" --scheme 2/3', "any two bring it back"),
    ),
    "backup repair": (("backup repair docs", "at once, not when it is due"),),
    "backup remove": (("backup remove docs", "their space is free again"),),
    "durability": (
        ("durability --nodes 9 --scheme 4/7 --annual-loss 5% --repair 48", "by a model"),
    ),
    "backup status": (("backup status", "and what endangers the copies"),),
    "kit print": (("kit print --out kit.pdf", "a sheet for the safe"),),
    "recover": (('recover --relay "$RELAY" --name new --to ~/Restored', "the kit is asked for"),),
    "tui": (("tui", "`?` shows every key"),),
    "status": (
        ("status", "what is not synced, and why"),
        ("status --json", "the same for a script"),
    ),
    "devices": (("devices", "when each was seen last"),),
    "devices remove": (("devices remove phone", "it was lost"),),
    "conflicts": (("conflicts", "which device wrote which copy"),),
    "resolve": (("resolve 'plan (conflict phone 2026-03-01 1200).odt' both", "keep both"),),
    "search": (
        ("search invoice type:pdf after:2026-01", "in names, directories and texts"),
        ("search 'exact phrase' folder:work owner:laptop", "written by one device"),
    ),
    "versions": (
        ("versions report.odt", "numbered"),
        ("versions --deleted .", "what was deleted here"),
    ),
    "restore": (
        ("restore report.odt --at 3d", "what it was three days ago"),
        ("restore report.odt --version 4 --to old.odt", "beside what there is"),
    ),
    "restore-folder": (("restore-folder ~/Documents --at 2026-01-31 --dry-run", "only list"),),
    "pause": (("pause docs", "one folder"), ("pause", "all of them")),
    "resume": (("resume", "all of them"),),
    "answer": (("answer docs restore", "the deletions were not meant"),),
    "demo": (("demo ~/Pictures", "a tree of your own"), ("demo --durable", "with losses")),
    "doctor": (("doctor", "what is wrong, and its cure"),),
    "log": (("log --since 1d --folder docs", "yesterday's"), ("log --json", "with all fields")),
    "log verify": (("log verify", "is it what was written?"),),
    "notifications": (("notifications --all", "also what was read"),),
    "notifications read": (("notifications read 3 4", "two of them"),),
    "service install": (("service install", "and start it"),),
    "service uninstall": (("service uninstall", "and stop it"),),
    "service status": (("service status", "what the system says of it"),),
    "config": (("config", "every key, its value, what is allowed"),),
    "config get": (("config get folders.hold_files", "one value"),),
    "config set": (("config set history.days 90", "keep every version for 90 days"),),
    "completion": (("completion bash > ~/.local/share/bash-completion/completions/holdfast", ""),),
    "link create": (("link create report.pdf --expires 2d --max-downloads 3", "print a URL"),),
    "link request": (("link request ~/Inbox --max-files 20 --expires 2d", "others put files in"),),
    "link list": (("link list", "with their downloads"),),
    "link revoke": (("link revoke report.pdf", "at once"),),
    "get": (("get 'https://relay.example/s/…#…' -o ~/Downloads", "without a browser"),),
}
"""By the words of the command; each what follows `holdfast`, and what it does."""

WIDTH_MAX: Final = 80
"""Where a line would be longer, what an example does stands below it."""


def text_of(path: str) -> str | None:
    """What stands at the end of a command's help; None if there is nothing."""
    found = EXAMPLES.get(path)
    if not found:
        return None
    width = max(len(command) for command, _ in found)
    lines = [f"  holdfast {command:{width}}  {what}".rstrip() for command, what in found]
    if max(map(len, lines)) > WIDTH_MAX:
        pairs = [(f"  holdfast {command}", f"      {what}".rstrip()) for command, what in found]
        lines = [line for pair in pairs for line in pair if line]
    return "\n".join(["examples:", *lines, ""])
