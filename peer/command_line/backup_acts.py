"""What the commands about copies at super-nodes and the recovery kit do (see `acts`)."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from peer.backup.durability_model import nines
from peer.command_line import terminal
from peer.command_line.acts import Answer, client_of, home_of, run_async, say
from peer.command_line.passphrase import ask_passphrase
from peer.command_line.progress import drawn, watched
from peer.control.control_client import suiting_scheme
from peer.errors import PeerError

if TYPE_CHECKING:
    from peer.control.control_client import ControlClient
    from peer.status import BackupEntry, BackupList, DomainShares

STORED: Final = frozenset({"up to date", "watching"})
"""States in which this device has nothing to store; `watching` is one that leaves it to another."""
TROUBLE_S: Final = 60.0
"""A node that is started anew is back by then."""
WAIT_S: Final = 1.0


def backup_add(arguments: argparse.Namespace) -> Answer:
    """Keep a folder at super-nodes."""
    needed, count = arguments.scheme or suiting_scheme(len(arguments.nodes))
    client = client_of(arguments)
    entry = client.add_backup(arguments.folder, arguments.nodes, needed, count)
    if arguments.wait:
        entry = _wait(arguments, client, entry["id"])["backups"][0]
    return say(
        entry,
        f"{arguments.folder} is kept at {len(arguments.nodes)} super-nodes from now on: any"
        f" {needed} of {count} shares bring it back. `holdfast backup status` shows how far it is.",
        *(f"Mind: {warning}" for warning in entry["warnings"]),
    )


def backup_remove(arguments: argparse.Namespace) -> Answer:
    """Keep a folder at super-nodes no more."""
    client_of(arguments).remove_backup(arguments.folder)
    return say(
        {},
        f"{arguments.folder} is not kept up at super-nodes any more. What is there goes when its"
        " leases end, within 90 days.",
    )


def backup_repair(arguments: argparse.Namespace) -> Answer:
    """Store anew what is missing at super-nodes."""
    client, folder = client_of(arguments), arguments.folder
    made = watched(
        arguments, client, "repair", folder, "packs", lambda: client.repair_backup(folder)
    )
    lines = [f"{made['rebuilt']} shares of {made['folder']} were made again and stored."]
    if made["lacking"]:
        lines.append(
            f"{made['lacking']} packs lack shares still. Name more super-nodes with `holdfast"
            " backup add`, or bring back those that are away."
        )
    if made["lost"]:
        lines.append(
            f"Of {made['lost']} packs too few shares can be reached to make the others. What of"
            " them is on this device is stored anew once the lost nodes are named no more."
        )
    lines += [f"Could not be reached: {address}" for address in made["away"]]
    return say(made, *lines)


def backup_status(arguments: argparse.Namespace) -> Answer:
    """Show how the copies stand."""
    client = client_of(arguments)
    found = _wait(arguments, client) if arguments.wait else client.backups()
    return Answer(found, lambda: print_backups(found))


def _wait(
    arguments: argparse.Namespace, client: ControlClient, folder_id: str | None = None
) -> BackupList:
    """How the copies stand, once all there is of this folder, or of all, is stored. Raises
    PeerError where something has kept it from that for a minute.
    """
    troubled_s: float | None = None
    with drawn(arguments) as tell:
        while True:
            found = client.backups()
            mine = [one for one in found["backups"] if folder_id in (None, one["id"])]
            left = [one for one in mine if one["state"] not in STORED]
            if not left:
                return {**found, "backups": mine}
            now_s = time.monotonic()
            troubles = [one for one in left if one["problem"]]
            troubled_s = (troubled_s or now_s) if troubles else None
            if troubled_s is not None and now_s - troubled_s >= TROUBLE_S:
                raise PeerError(
                    f"{troubles[0]['folder']} is not stored: {troubles[0]['problem']} It is tried"
                    " again all the time; `holdfast backup status` shows each node."
                )
            sizes = {folder["id"]: folder["bytes"] for folder in client.status()["folders"]}
            size = sum(sizes.get(one["id"], 0) for one in mine)
            tell(min(size, sum(one["pack_bytes"] for one in mine)), size)
            time.sleep(WAIT_S)


def kit_print(arguments: argparse.Namespace) -> Answer:
    """Print the recovery kit with what belongs beside it."""
    from peer.backup.kit_sheet import as_pdf, as_text
    from peer.command_line.kit_input import ask_kit
    from protocol.kit import encode_kit

    sheet = client_of(arguments).show_kit(encode_kit(ask_kit()))
    if arguments.out is None:
        return say(sheet, *as_text(sheet))
    arguments.out.touch(mode=0o600)
    arguments.out.chmod(0o600)  # also where an older sheet was that others could read
    arguments.out.write_bytes(as_pdf(sheet))
    data = {"out": str(arguments.out), "user": sheet["user"], "relays": sheet["relays"]}
    return say(data, f"Wrote {arguments.out}. Print it, and delete the file.")


def recover(arguments: argparse.Namespace) -> Answer:
    """Come back with the kit."""
    from peer.backup import recovery
    from peer.command_line.kit_input import ask_kit
    from peer.device.removing import SHOWN_ID_LENGTH

    secret = ask_kit()
    passphrase = ask_passphrase(is_new=True) if arguments.passphrase else None
    into = None if arguments.to is None else Path(arguments.to).absolute()
    with drawn(arguments) as tell:
        made = run_async(
            recovery.recover(
                home_of(arguments), secret, arguments.relay, arguments.name, passphrase, into, tell
            )
        )
    names = ", ".join(folder["name"] for folder in made["folders"]) or "no folder"
    lines = [f"{arguments.name} is a device of yours now. Found: {names}."]
    if into is None:
        lines.append("Next: `holdfast run`, and `holdfast folder attach NAME PATH` for each.")
    else:
        lines.append(
            f"Next: `holdfast run`; the files come to {into}. `holdfast status` shows how many are"
            " on their way."
        )
    if others := made["others"]:
        count = "One other device is" if len(others) == 1 else f"{len(others)} other devices are"
        lines.append(
            f"{count} still yours. What of that is lost you remove, once `holdfast backup status`"
            " shows all folders up to date:"
        )
        lines += [f"    holdfast devices remove {id_[:SHOWN_ID_LENGTH]}" for id_ in others]
    return say(made, *lines)


def print_backups(found: BackupList) -> None:
    """Print a table, and under it what is to be known of each folder."""
    if not found["backups"]:
        print("No folder is kept at super-nodes. `holdfast backup add --help` shows how one is.")
        return
    rows = [_row(entry) for entry in found["backups"]]
    terminal.print_table(
        ("folder", "scheme", "state", "health", "stored", "as of", "checked"), rows
    )
    for entry in found["backups"]:
        for node in entry["nodes"]:
            if node["problem"]:
                said = f"{entry['folder']}: {node['address']}: {node['problem']}"
                print(terminal.wrapped(terminal.term_safe(said), sys.stdout))
        for sentence in (entry["problem"], *entry["warnings"], *_standing(entry)):
            if sentence:
                said = terminal.term_safe(f"{entry['folder']}: {sentence}")
                print(terminal.wrapped(said, sys.stdout))


def _standing(entry: BackupEntry) -> list[str]:
    """Where the copies are, what they are worth, and what was made again of them."""
    lines = []
    if entry["domains"]:
        lines.append(f"Shares by what may be lost together: {_by_domain(entry['domains'])}.")
    loss = entry["outlook"]["loss_in_a_year"]
    if loss is None:
        reason = entry["outlook"]["reason"]
        for warning in entry["warnings"]:  # it stands above already
            reason = reason.replace(f": {warning}", ".")
        lines.append(f"No durability can be given. {reason}")
    else:
        lines.append(f"A pack is lost within a year with {loss:.2g} ({nines(loss)}), if:")
        lines += [f"- {sentence}" for sentence in entry["outlook"]["assumptions"]]
    for node in entry["nodes"]:
        if node["broken"]:
            lines.append(f"{node['address']} signed for {node['broken']} shares and lost them.")
    if entry["sampled_s"] is not None:
        ago = terminal.format_time(max(0, time.time() - entry["sampled_s"]))
        wrong = entry["sampled_wrong"]
        found = f"{wrong} of them wrong" if wrong else "all of them right"
        count = entry["sampled_leaves"]
        lines.append(f"{count} samples were fetched back, {found}, the last {ago} ago.")
    if entry["healed_s"] is not None:
        ago = terminal.format_time(max(0, time.time() - entry["healed_s"]))
        lines.append(f"{entry['heals']} shares were made again, the last one {ago} ago.")
    return lines


def _by_domain(domains: Sequence[DomainShares]) -> str:
    """How many shares lie where, of each kind: `owner: Ada 2, Bo 2; region: Oslo 4`."""
    kinds: dict[str, list[str]] = {}
    for domain in domains:
        said = f"{domain['name'][:40]} {domain['shares']}"
        kinds.setdefault(domain["kind"], []).append(said)
    return "; ".join(f"{kind}: {', '.join(said)}" for kind, said in kinds.items())


def _row(entry: BackupEntry) -> tuple[str, ...]:
    counts = [
        f"{entry[key]} {word}"  # type: ignore[literal-required]
        for key, word in (("degraded", "degraded"), ("at_risk", "at risk"), ("lost", "lost"))
        if entry[key]  # type: ignore[literal-required]
    ]
    unverified = entry["unverified_s"]
    return (
        entry["folder"],
        entry["scheme"],
        entry["state"],
        ", ".join([entry["health"], *counts]),
        f"{terminal.format_size(entry['stored_bytes'])} of {entry['packs']} packs",
        "not yet" if entry["stored_until_s"] is None
        else f"{terminal.format_time(max(0, time.time() - entry['stored_until_s']))} ago",
        "-" if unverified is None else f"{terminal.format_time(unverified)} ago",
    )  # fmt: skip
