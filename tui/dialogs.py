"""What the screen asks and tells in a window of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static
from textual.widgets.button import ButtonVariant

from peer.command_line.terminal import term_safe
from tui.key_line import KeyLine

KIT_WORDS: Final = (
    "It brings everything back if you lose all your devices. Print it or write it down now: it is"
    " shown once, and stored nowhere."
)
FIELDS_APART_MAX: Final = 4
"""On 24 lines more have no room for blank lines between them."""


class Field(NamedTuple):
    """One line to be filled in."""

    name: str
    label: str
    value: str = ""
    is_optional: bool = False
    is_secret: bool = False
    is_guess: bool = False
    """The value is a proposal of ours: what is typed takes its place."""


class Ask(ModalScreen[dict[str, str] | None]):
    """A few lines to be filled in; None if the person thought better of it."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "cancel", "Cancel")]

    def __init__(self, title: str, fields: Sequence[Field], act: str) -> None:
        super().__init__()
        self._title, self._fields, self._act = title, tuple(fields), act

    def compose(self) -> ComposeResult:
        """A line for each field, and what becomes of it."""
        is_much = len(self._fields) > FIELDS_APART_MAX
        with Vertical(classes="dialog many" if is_much else "dialog"):
            yield Label(self._title, classes="title", markup=False)
            for field in self._fields:
                yield Label(field.label, classes="label", markup=False)
                yield Input(
                    field.value, id=f"field-{field.name}", select_on_focus=field.is_guess,
                    password=field.is_secret,
                )  # fmt: skip
            with Horizontal(classes="buttons"):
                yield Button(self._act, variant="primary", id="act")
                yield Button("Cancel", id="cancel")
        yield KeyLine()

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
    """A question of yes or no. No is the answer of a person who leaves, and of Enter too, unless
    nothing can be lost by it.
    """

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "answer(True)", "Yes"),
        ("n", "answer(False)", "No"),
        ("escape", "answer(False)", "No"),
    ]

    def __init__(self, question: str, act: str, *, is_harmless: bool = False) -> None:
        super().__init__()
        self._question, self._act, self._is_harmless = question, act, is_harmless

    def compose(self) -> ComposeResult:
        """The question and its two answers."""
        with Vertical(classes="dialog"):
            yield Label(self._question, classes="title", markup=False)
            with Horizontal(classes="buttons"):
                variant: ButtonVariant = "primary" if self._is_harmless else "error"
                yield Button(f"{self._act} (y)", variant=variant, id="yes")
                yield Button("No (n)", id="no")
        yield KeyLine()

    def on_mount(self) -> None:
        """What Enter means."""
        self.set_focus(self.query_one("#yes" if self._is_harmless else "#no"))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button by mouse or key."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, is_yes: bool) -> None:
        """A key."""
        self.dismiss(is_yes)


class Kit(ModalScreen[None]):
    """What is shown once: it stays until somebody says that it is on paper, and no key that is
    pressed by habit takes it away.
    """

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        ("w", "close", "It is written down"),
        ("c", "copy", "Copy"),
        Binding("enter,escape,q,space", "stay", "Stay", show=False),
    ]

    def __init__(self, kit: str) -> None:
        super().__init__()
        self._kit = kit
        self._told = Static("", classes="told", markup=False)

    def compose(self) -> ComposeResult:
        """The kit, and what it is for."""
        with Vertical(classes="dialog"):
            yield Label("Your recovery kit", classes="title", markup=False)
            yield Static(term_safe(self._kit), classes="large", markup=False)
            yield Static(KIT_WORDS, markup=False)
            yield self._told
            with Horizontal(classes="buttons"):
                yield Button("It is written down (w)", variant="primary", id="close")
        yield KeyLine()

    def on_button_pressed(self) -> None:
        """By mouse."""
        self.dismiss(None)

    def action_close(self) -> None:
        """It is on paper."""
        self.dismiss(None)

    def action_copy(self) -> None:
        """To the clipboard, by the terminal, for who prints it."""
        self.app.copy_to_clipboard(self._kit)
        self._told.update("Copied, if this terminal lets a program do so. Print it, and press w.")

    def action_stay(self) -> None:
        """Not yet."""
        self._told.update("It is not shown again. Press w when it is on paper.")
