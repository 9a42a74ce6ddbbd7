"""``sonyc-ml bundle publish``: its flags, and what it says."""

from __future__ import annotations

import argparse
from pathlib import Path

from sonyc_ml.errors import UserMistakes

OK = 0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add what ``bundle publish`` takes beside its bundle."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="to write; made where it is not there")
    parser.add_argument("--hub-id", default="", metavar="OWNER/NAME", help="what it will be called on the hub")


def run(parsed: argparse.Namespace) -> int:
    """Carry out ``bundle publish``."""
    from sonyc_ml.authoring.hub import publish  # noqa: PLC0415  imports numpy

    with UserMistakes(ValueError):
        written = publish(parsed.path, parsed.folder, parsed.hub_id)
    print(f"{written.folder}: {', '.join(name for name in written.files if name not in written.kept)}")
    for name in written.kept:
        print(f"kept:    {name} is not one that this command has written, and stays as it is")
    for note in written.notes:
        print(f"note:    {note}")
    print(
        "upload:  nothing was uploaded; this would do it:"
        if written.command
        else "upload:  nothing was uploaded; --hub-id OWNER/NAME shows the command that would do it"
    )
    if written.command:
        print(f"         {written.command}")
    return OK
