"""What the commands of the command line share: a configuration, an end in one sentence, a place in the parser.

Called by ``cli.py`` and ``agent/commands.py``, which have the commands.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from proxy.config.settings import Config

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  it has no public name

Command: TypeAlias = Callable[[argparse.Namespace], int]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


class Failure(Exception):
    """An expected end of a command: what to tell the user, as it is printed."""


def load(paths: Sequence[Path], *, afar: bool = False) -> Config:
    """The configuration; raises Failure with every mistake in it. ``afar``: secrets are not looked up."""
    present(paths)
    from proxy.config.load import ConfigError
    from proxy.config.load import load as load_config

    try:
        return load_config(paths, os.environ, afar=afar)
    except ConfigError as error:
        raise bad_config(error.problems) from None
    except OSError as error:
        raise os_failure(error) from None


def present(paths: Sequence[Path]) -> None:
    """Say that a file is missing before anything is imported or started."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise Failure(f"backstay: no such file or directory: {', '.join(missing)}")


def bad_config(problems: Sequence[object]) -> Failure:
    """All mistakes, and how many they are."""
    return Failure("\n".join([*map(str, problems), count(len(problems), "error")]))


def os_failure(error: OSError) -> Failure:
    """What the system refused, and where."""
    where = f"{error.filename}: " if error.filename is not None else ""
    return Failure(f"backstay: {where}{error.strerror or error}")


def count(number: int, noun: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def add(commands: Commands, name: str, command: Command, text: str, *examples: str) -> argparse.ArgumentParser:
    """A command whose help starts with the first line of ``text`` and ends with ``examples``."""
    lines = "\n".join(f"  {example}" for example in examples)
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text.splitlines()[0],
        description=text,
        epilog=f"{'example' if len(examples) == 1 else 'examples'}:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """The argument CONFIG, as every command has it."""
    parser.add_argument(
        "config", type=Path, nargs="+", metavar="CONFIG", help="a YAML file, or a directory of them; several are merged"
    )


def host_port(text: str, least: int = 1) -> tuple[str, int]:
    """A type of arguments: ``HOST:PORT``, an IPv6 address in brackets. ``least``: of ports."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not least <= int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def duration(least: float) -> Callable[[str], float]:
    """A type of arguments: seconds, with or without the ``s``, from ``least`` to an hour."""

    def parse(text: str) -> float:
        try:
            value = float(text.removesuffix("s"))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
        if not least <= value <= 3600:
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and 3600 seconds")
        return value

    return parse
