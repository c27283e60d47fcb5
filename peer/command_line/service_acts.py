"""`holdfast service`, `holdfast config` and `holdfast completion`."""

from __future__ import annotations

import argparse
import os
from typing import Any

from peer.command_line import terminal
from peer.command_line.acts import HOME_VARIABLE, Answer, home_of, say


def _service(arguments: argparse.Namespace) -> Any:
    from peer.command_line.service import service_of

    is_default = not getattr(arguments, "home", None) and not os.environ.get(HOME_VARIABLE)
    return service_of(home_of(arguments), is_default=is_default)


def install(arguments: argparse.Namespace) -> Answer:
    """Run the daemon as a service from now on."""
    from peer.command_line import service

    found = _service(arguments)
    told = service.install(found, home_of(arguments))
    return say({"name": found.name, "path": str(found.path)}, told)


def uninstall(arguments: argparse.Namespace) -> Answer:
    """Run it as a service no more."""
    from peer.command_line import service

    found = _service(arguments)
    return say({"name": found.name}, service.uninstall(found))


def status(arguments: argparse.Namespace) -> Answer:
    """Say how the service stands."""
    from peer.command_line import service

    found = _service(arguments)
    state, told = service.state_of(found)
    return say({"name": found.name, "path": str(found.path), "state": state}, told)


def config(arguments: argparse.Namespace) -> Answer:
    """Show every setting."""
    from peer.device.config import KEYS, Config, read_config

    found, defaults = read_config(home_of(arguments) / "config.toml"), Config()
    values = {
        key.dotted: (key.write(getattr(found, field)), key.write(getattr(defaults, field)))
        for field, key in KEYS.items()
    }

    allowed = {key.dotted: key.allowed for key in KEYS.values()}

    def show() -> None:
        rows = (
            (
                name,
                _toml(value),
                allowed[name] + ("" if value == default else f"; default: {_toml(default)}"),
            )
            for name, (value, default) in values.items()
        )
        terminal.print_table(("setting", "value", "allowed"), rows)

    return Answer({name: value for name, (value, _) in values.items()}, show)


def config_get(arguments: argparse.Namespace) -> Answer:
    """Show one setting."""
    from peer.device.config import KEYS, field_of, read_config

    field = field_of(arguments.key)
    value = KEYS[field].write(getattr(read_config(home_of(arguments) / "config.toml"), field))
    return say({arguments.key: value}, _toml(value))


def config_set(arguments: argparse.Namespace) -> Answer:
    """Change one setting."""
    from peer.device.config import KEYS, field_of, parse_value, read_value, write_value
    from peer.errors import NoDevice

    home = home_of(arguments)
    if not home.is_dir():
        raise NoDevice
    field = field_of(arguments.key)
    value = read_value(field, parse_value(arguments.value), "")
    config = write_value(home / "config.toml", field, value)
    written = KEYS[field].write(getattr(config, field))
    return say(
        {arguments.key: written},
        f"{arguments.key} is {_toml(written)} now; a daemon that runs takes it up when it is"
        " started anew.",
    )


def completion(arguments: argparse.Namespace) -> Answer:
    """Print a shell's script."""
    from peer.command_line.cli import make_parser
    from peer.command_line.completion import script

    text = script(arguments.shell, make_parser())
    return Answer({"script": text}, lambda: print(text, end=""))


def _toml(value: object) -> str:
    import tomlkit

    return tomlkit.item(value).as_string()
