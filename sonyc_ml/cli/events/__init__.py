"""``sonyc-ml events``: what happened to recordings, as lines, once or as it happens."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import until_reader_leaves
from sonyc_ml.cli.node import add_asking, journal_folder, moment_of
from sonyc_ml.errors import ConfigError

if TYPE_CHECKING:
    from sonyc_ml.node.journal.event_log import LoggedEvent

OK = 0
N_BEFORE = 10  # that --follow begins with
EPILOG = """\
examples:
  sonyc-ml events --since 1h
  sonyc-ml events --follow
  sonyc-ml events --follow --after 1795931651003 --json | my-program

One line per event: when it happened, what, and to which recording. The journal keeps the last 20,000. --json writes
one object per line; its id, given to --after, is where another call goes on. An event "missed" stands for those that
were not kept for so long. Exit status: 0, or 2 if it cannot say."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``events`` to a parser's commands."""
    parser = add_asking(commands, "events", _run, texts["events"], EPILOG)
    parser.add_argument("--follow", "-f", action="store_true", help="go on with events as they come, until Ctrl-C")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--since", metavar="WHEN", help="24h, 7d, or a time (default: all that are kept)")
    begin.add_argument("--after", type=int, metavar="ID", help="those behind this one; 0 for all that are kept")


def _run(parsed: argparse.Namespace) -> int:
    from sonyc_ml.node.journal.event_log import LOOK_S, Follower, number_before, read_events  # noqa: PLC0415
    from sonyc_ml.node.journal.journal import Journal  # noqa: PLC0415

    since_s = math.inf if parsed.since is None else moment_of("--since", parsed.since, time.time())
    if parsed.after is not None and parsed.after < 0:
        raise ConfigError(f"--after must not be below 0, and is {parsed.after}")
    folder = journal_folder(parsed)
    journal = Journal(folder, read_only=True)
    try:
        after = parsed.after
        if after is None:
            after = number_before(journal, since_s, N_BEFORE if parsed.follow and parsed.since is None else 0)
            after = 0 if not parsed.follow and parsed.since is None else after
        with until_reader_leaves():
            while not parsed.follow and (batch := read_events(journal, after)):
                after = batch[-1].number
                _show(batch, as_json=parsed.json)
    finally:
        journal.close()
    if parsed.follow:
        follower = Follower(folder, after)
        with until_reader_leaves():
            while True:
                batch = follower.read() if follower.has_news() else []
                _show(batch, as_json=parsed.json)
                time.sleep(0 if batch else LOOK_S)
    return OK


def _show(events: Iterable[LoggedEvent], *, as_json: bool) -> None:
    for event in events:
        plain = event.to_plain()
        sys.stdout.write(f"{json.dumps(plain) if as_json else line_of(plain)}\n")
    sys.stdout.flush()


def line_of(plain: Mapping[str, Any]) -> str:
    """An event for people: time, what, to which recording, and the rest in words."""
    from sonyc_ml.base.human import shown  # noqa: PLC0415

    name = plain.get("recording") or plain.get("source") or ""
    parts = [plain["time"], f"{plain['event']:11}", name, said_of(plain)]
    return shown("  ".join(part for part in parts if part).rstrip())


def said_of(plain: Mapping[str, Any]) -> str:
    """What an event's line says beside time, kind and recording."""
    kind = plain["event"]
    if kind == "detection":
        return f"{plain['label']} {plain['score']:.2f}"
    if kind == "level":
        return f"LAeq {plain['levels'].get('LAeq', math.nan):.1f} {plain['reference']}"
    if kind == "published":
        return f"{plain['lag_s']:.1f} s after it was found{', salvaged' if plain['salvaged'] else ''}"
    if kind == "gap":
        return f"{plain['duration_s']:g} s: {plain.get('reason', '')}"
    if kind == "missed":
        return f"{plain['n_missed']} events are not kept any more"
    words = (plain.get(name, "") for name in ("bundle", "version", "state", "reason", "detail"))
    if kind == "node":
        words = (json.dumps(plain[name], ensure_ascii=False) for name in ("before", "node"))
    return ": ".join(word for word in words if word)
