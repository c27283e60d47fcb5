"""What argparse says of a command line that it does not understand, in a person's words."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NO_CHOICE = re.compile(r"argument ([^:]+): invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)
_LACKING = re.compile(r"the following arguments are required: (.*)")


def nearest(word: str, known: Iterable[str]) -> str:
    """A question that names what was meant, as likely as not; else nothing."""
    import difflib

    found = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean `{found[0]}`?" if found else ""


def sentence(message: str) -> str:
    """The mistake, and what was meant where that can be guessed."""
    if (found := _NO_CHOICE.fullmatch(message)) is not None:
        name, word, listed = found.groups()
        known = [one.strip("' ") for one in listed.split(",")]
        if name == "COMMAND":
            return f"There is no command {word!r}.{nearest(word, known)}"
        return f"It has to be {' or '.join(known)}, not {word!r}.{nearest(word, known)}"
    if (found := _LACKING.fullmatch(message)) is not None:
        return "A command is missing." if found[1] == "COMMAND" else f"What is missing: {found[1]}."
    message = message.rstrip(".")
    return f"{message[:1].upper()}{message[1:]}."
