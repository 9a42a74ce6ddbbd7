"""One way to add a command to the program's parser, so that all of them look alike."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Add a command.

    Parameters
    ----------
    commands : action of argparse
        What the program's parser takes commands into.
    name : str
    run : callable
        Carries it out; returns the exit status.
    text : str
        What it does, in lower case without a full stop.
    epilog : str, optional
        What is shown behind its flags.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser
