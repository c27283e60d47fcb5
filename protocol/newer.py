"""What a later version of Holdfast wrote: told from what nobody writes, by its number.

A known form never changes. Whatever is new comes under a number that is higher than those that are
known (of a message, a record, an action, an object's version), so that an older device can tell it
from damage and malice: it takes nothing of it, blames nobody for it, and waits to be updated.
"""

from __future__ import annotations

from typing import Any

from protocol.errors import NewerForm


def refuse_newer(number: Any, known_max: int) -> None:
    """Raises NewerForm if this is the number of a form that is not known yet."""
    if type(number) is int and number > known_max:
        raise NewerForm(f"form {number}, of which this version knows {known_max} at most")
