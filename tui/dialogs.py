"""What the screen asks and tells in a window of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static


class Field(NamedTuple):
    """One line to be filled in."""

    name: str
    label: str
    value: str = ""
    is_optional: bool = False
    is_secret: bool = False


class Ask(ModalScreen[dict[str, str] | None]):
    """A few lines to be filled in; None if the person thought better of it."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "cancel", "Cancel")]

    def __init__(self, title: str, fields: Sequence[Field], act: str) -> None:
        super().__init__()
        self._title, self._fields, self._act = title, tuple(fields), act

    def compose(self) -> ComposeResult:
        """A line for each field, and what becomes of it."""
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="title", markup=False)
            for field in self._fields:
                yield Label(field.label, markup=False)
                yield Input(
                    field.value, id=f"field-{field.name}", select_on_focus=False,
                    password=field.is_secret,
                )  # fmt: skip
            with Horizontal(classes="buttons"):
                yield Button(self._act, variant="primary", id="act")
                yield Button("Cancel", id="cancel")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on to the next line; in the last one it is the answer."""
        if event.input.id == f"field-{self._fields[-1].name}":
            self._answer()
        else:
            self.focus_next(Input)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button by mouse or key."""
        if event.button.id == "act":
            self._answer()
        else:
            self.dismiss(None)

    def action_cancel(self) -> None:
        """Nothing is done."""
        self.dismiss(None)

    def _answer(self) -> None:
        values = {f.name: self.query_one(f"#field-{f.name}", Input).value for f in self._fields}
        for field in self._fields:
            if not field.is_optional and not values[field.name].strip():
                self.query_one(f"#field-{field.name}", Input).focus()
                return
        self.dismiss(values)


class Confirm(ModalScreen[bool]):
    """A question of yes or no; no is the answer of a person who leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "answer(True)", "Yes"),
        ("n", "answer(False)", "No"),
        ("escape", "answer(False)", "No"),
    ]

    def __init__(self, question: str, act: str) -> None:
        super().__init__()
        self._question, self._act = question, act

    def compose(self) -> ComposeResult:
        """The question and its two answers."""
        with Vertical(classes="dialog"):
            yield Label(self._question, classes="title", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(f"{self._act} (y)", variant="error", id="yes")
                yield Button("No (n)", id="no")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button by mouse or key."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, is_yes: bool) -> None:
        """A key."""
        self.dismiss(is_yes)


class Notice(ModalScreen[None]):
    """Something to be read, and perhaps typed on another device."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter", "close", "Close")]

    def __init__(self, title: str, large: str, text: str) -> None:
        super().__init__()
        self._title, self._large, self._text = title, large, text

    def compose(self) -> ComposeResult:
        """The title, what matters, and the rest."""
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="title", markup=False)
            yield Static(self._large, classes="large", markup=False)
            yield Static(self._text, markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Close", variant="primary", id="close")

    def on_button_pressed(self) -> None:
        """It was read."""
        self.dismiss(None)

    def action_close(self) -> None:
        """It was read."""
        self.dismiss(None)
