"""``sonyc-ml status``, ``explain``, ``audit``, ``list``, ``retry``, ``reload``: a node is asked, and given orders."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.base.lock import STATE_FOLDER
from sonyc_ml.cli.flags import add_command, until_reader_leaves
from sonyc_ml.errors import ConfigError, UserMistakes
from sonyc_ml.node.config_file import read_tables, usual_config

if TYPE_CHECKING:
    from sonyc_ml.node.journal.journal import Entry, Journal
    from sonyc_ml.node.operate.retry import Choice

OK, ATTENTION, CANNOT_TELL = 0, 1, 2

MAX_REFUSALS = 10  # that are listed one by one
STATES = ("quarantined", "shed", "pending", "done")
WHERE = """\
The journal is found by --config, --output or --state; without these, by $SONYC_ML_CONFIG, else by
$XDG_CONFIG_HOME/sonyc-ml/sonyc-ml.toml, else by /etc/sonyc-ml/sonyc-ml.toml. Times are in UTC."""
EPILOGS = {
    "status": """\
examples:
  sonyc-ml status
  sonyc-ml status --output embeddings/ --json

Works while the daemon runs and when it does not.
Exit status: 0 all is well, 1 something needs attention (the daemon does not run, is in trouble, misses its folder or
its recordings, has a backlog older than 10 minutes, a failed reload, or a disk with less than 2 % free), 2 it
cannot say.""",
    "explain": """\
examples:
  sonyc-ml explain recordings/2026/a.wav
  sonyc-ml explain 2026/a.wav --output embeddings/

FILE is absolute, relative to the current folder, or relative to the folder that is watched; it need not be there any
more. Exit status: 0 known, 1 not known, 2 it cannot say.""",
    "audit": """\
examples:
  sonyc-ml audit --since 24h
  sonyc-ml audit --since 2026-11-20 --until 2026-11-21 --gap 300 --json

Recordings count by the time they begin; where that is not known (of what is pending or quarantined), by the time of
their file. Exit status: 0, or 2 if it cannot say.""",
    "list": """\
examples:
  sonyc-ml list
  sonyc-ml list pending --limit 0
  sonyc-ml list quarantined --since 7d --json
  sonyc-ml list --heard siren --since 24h

The newest first. --heard asks for detections (sonyc-ml watch --detect, or the bundle's own): of each recording the
best of a class, by the time of the sound. Exit status: 0, or 2 if it cannot say.""",
    "retry": """\
examples:
  sonyc-ml retry recordings/2026/a.wav
  sonyc-ml retry --quarantined --reason unreadable
  sonyc-ml retry --all --dry-run

The daemon tries them within two seconds, or when it is started. A recording that is done is embedded again only after
its output was removed. Exit status: 0 all of them, 1 some were refused, 2 all were, or it cannot say.""",
    "forget": """\
examples:
  sonyc-ml forget --quarantined --dry-run
  sonyc-ml forget recordings/2026/a.wav

They are not counted or listed any more; files and outputs stay. What is pending is kept, and so is what still has its
file, unless it is named: the daemon then finds it as a new recording. Exit status: 0 all of them, 1 some were kept, 2
all were, or it cannot say.""",
    "reload": """\
examples:
  sonyc-ml reload

The daemon finishes the current recording, reads its configuration again, and verifies and loads its bundles. If one of
them cannot be used, the old ones stay. Exit status: 0 the new ones run, 1 the old ones stay, 2 the daemon does not run
or does not answer.""",
}


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add the commands to a parser's."""
    _add(commands, "status", _status, texts["status"])
    explain = _add(commands, "explain", _explain, texts["explain"])
    explain.add_argument("file", type=Path, metavar="FILE")
    audit = _add(commands, "audit", _audit, texts["audit"])
    audit.add_argument("--since", default="24h", metavar="WHEN", help="24h, 7d, or a time (default 24h)")
    audit.add_argument("--until", metavar="WHEN", help="a time as with --since (default now)")
    audit.add_argument("--gap", type=float, default=60.0, metavar="SECONDS", help="longer pauses are gaps (default 60)")
    listing = _add(commands, "list", _list, texts["list"])
    listing.add_argument(
        "state", nargs="?", choices=STATES, help="default: quarantined and shed, without what was replaced"
    )
    listing.add_argument(
        "--heard", metavar="LABEL", help="recordings in which a class was detected; or its name in one"
    )
    listing.add_argument("--since", default="", metavar="WHEN", help="24h, 7d, or a time (default: all)")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many, 0 for all (default 50)")
    for name, run, does in (("retry", _retry, "tried again"), ("forget", _forget, "forgotten")):
        parser = _add(commands, name, run, texts[name])
        parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
        parser.add_argument("--quarantined", action="store_true", help="all that are quarantined")
        parser.add_argument("--shed", action="store_true", help="all given up because of overload (state shed)")
        parser.add_argument("--all", action="store_true", help="all of both")
        parser.add_argument("--reason", metavar="WORD", help="of these only those with this reason; see sonyc-ml list")
        parser.add_argument("--dry-run", action="store_true", help=f"only say what would be {does}")
    reload = _add(commands, "reload", _reload, texts["reload"])
    reload.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="how long to wait for it (default 60)"
    )


def _add(commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    return add_asking(commands, name, run, text, EPILOGS[name])


def add_asking(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a command that asks a journal, with the flags that say which."""
    parser = add_command(commands, name, run, text, f"{epilog}\n\n{WHERE}")
    add_where(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def add_where(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which journal."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--config", type=Path, metavar="FILE", help="the daemon's TOML file")
    where.add_argument("--output", type=Path, metavar="DIR", help="where the daemon writes embeddings")
    where.add_argument("--state", type=Path, metavar="DIR", dest="state_folder", help="where the journal lies")


def _status(parsed: argparse.Namespace) -> int:
    from sonyc_ml.cli.node_text import status_text  # noqa: PLC0415
    from sonyc_ml.node.operate.status import status  # noqa: PLC0415

    with _journal(parsed) as journal:
        answer = status(journal)
    _show(parsed, answer, status_text)
    return ATTENTION if answer["attention"] else OK


def _explain(parsed: argparse.Namespace) -> int:
    from sonyc_ml.cli.node_text import explain_text  # noqa: PLC0415
    from sonyc_ml.node.operate.explain import explain  # noqa: PLC0415

    with _journal(parsed) as journal:
        answer = explain(journal, parsed.file)
    _show(parsed, answer, explain_text)
    return OK if answer["known"] else ATTENTION


def _audit(parsed: argparse.Namespace) -> int:
    from sonyc_ml.cli.node_text import audit_text  # noqa: PLC0415
    from sonyc_ml.node.operate.audit import audit  # noqa: PLC0415

    now_s = time.time()
    since_s = moment_of("--since", parsed.since, now_s)
    until_s = moment_of("--until", parsed.until, now_s) if parsed.until else now_s
    if since_s >= until_s:
        raise ConfigError(f"--since {parsed.since} must be earlier than --until {parsed.until or 'now'}")
    if not parsed.gap >= 0:
        raise ConfigError(f"--gap must not be below 0, and is {parsed.gap:g}")
    with _journal(parsed) as journal:
        answer = audit(journal, since_s, until_s, parsed.gap, clock=lambda: now_s)
    _show(parsed, answer, audit_text)
    return OK


def _list(parsed: argparse.Namespace) -> int:
    from sonyc_ml.cli.node_text import heard_text, listing_text  # noqa: PLC0415
    from sonyc_ml.node.operate.listing import heard_listing, listing  # noqa: PLC0415

    if parsed.limit < 0:
        raise ConfigError(f"--limit must not be below 0, and is {parsed.limit}")
    since_s = moment_of("--since", parsed.since, time.time()) if parsed.since else 0.0
    if parsed.heard is not None:
        if parsed.state:
            raise ConfigError(f"--heard lists what is done: leave out {parsed.state}")
        with _journal(parsed) as journal:
            answer = heard_listing(journal, parsed.heard, since_s=since_s, limit=parsed.limit or None)
        _show(parsed, answer, heard_text)
        return OK
    with _journal(parsed) as journal:
        answer = listing(journal, (parsed.state,) if parsed.state else (), since_s=since_s, limit=parsed.limit or None)
    _show(parsed, answer, listing_text)
    return OK


def _retry(parsed: argparse.Namespace) -> int:
    from sonyc_ml.node.operate.retry import choose_all, choose_files  # noqa: PLC0415

    return _change(parsed, (choose_files, choose_all), "retried", lambda journal, entries: journal.retry(entries))


def _forget(parsed: argparse.Namespace) -> int:
    from sonyc_ml.node.operate.forget import choose_gone, choose_named, forget  # noqa: PLC0415

    return _change(parsed, (choose_named, choose_gone), "forgotten", forget)


def _change(
    parsed: argparse.Namespace,
    choose: tuple[Callable[..., Choice], Callable[..., Choice]],
    done: str,
    change: Callable[[Journal, tuple[Entry, ...]], int],
) -> int:
    """Change what the journal has of some recordings, and say of which, and why not of others."""
    with _journal(parsed) as journal:
        choice = _choice(parsed, journal, *choose)
    if choice.entries and not parsed.dry_run:
        with _journal(parsed, read_only=False) as journal:
            change(journal, choice.entries)
    answer = {
        done: [entry.identity.name for entry in choice.entries],
        "refused": [{"name": name, "why": why} for name, why in choice.refused],
        "dry_run": parsed.dry_run,
    }
    _show(parsed, answer, lambda answer: _change_text(answer, done))
    if not choice.refused:
        return OK
    return ATTENTION if choice.entries else CANNOT_TELL


def _choice(
    parsed: argparse.Namespace, journal: Journal, choose_files: Callable[..., Choice], choose_all: Callable[..., Choice]
) -> Choice:
    is_selected = parsed.quarantined or parsed.shed or parsed.all or parsed.reason is not None
    if bool(parsed.files) == is_selected:
        what = "try again" if parsed.run is _retry else "forget"
        raise ConfigError(f"say what to {what}: either FILEs, or --quarantined, --shed, --reason WORD or --all")
    if parsed.files:
        return choose_files(journal, parsed.files)
    named = [state for state in ("quarantined", "shed") if getattr(parsed, state) or parsed.all]
    return choose_all(journal, named or ("quarantined", "shed"), parsed.reason)


def _change_text(answer: dict[str, Any], done: str) -> str:
    from sonyc_ml.base.human import count  # noqa: PLC0415
    from sonyc_ml.cli.node_text import lines  # noqa: PLC0415

    n = len(answer[done])
    if done == "retried":
        happens, nothing = "will be tried again", "nothing to try again"
    else:
        happens, nothing = "forgotten", "nothing to forget"
    if answer["dry_run"]:
        happens = f"would be {happens.removeprefix('will be ')}"
    parts = [f"not {refused['name']}: {refused['why']}" for refused in answer["refused"][:MAX_REFUSALS]]
    if len(answer["refused"]) > MAX_REFUSALS:
        parts.append(f"not {count(len(answer['refused']) - MAX_REFUSALS)} more; --json lists them all")
    if answer["dry_run"]:
        parts += answer[done]
    return lines([*parts, f"{count(n)} {happens}" if n else nothing])


def _reload(parsed: argparse.Namespace) -> int:
    import dataclasses  # noqa: PLC0415

    from sonyc_ml.node.operate.reload import reload  # noqa: PLC0415

    if not parsed.timeout > 0:
        raise ConfigError(f"--timeout must be above 0, and is {parsed.timeout:g}")
    folder = journal_folder(parsed)
    facts = reload(folder, parsed.timeout)
    if facts is None:
        raise ConfigError(f"no daemon that keeps its journal in {folder} is running; start it with sonyc-ml watch")
    text = facts.detail if facts.ok else f"not reloaded: {facts.detail}"
    _show(parsed, dataclasses.asdict(facts), lambda _answer: text)
    return OK if facts.ok else ATTENTION


def _show(parsed: argparse.Namespace, answer: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> None:
    with until_reader_leaves():
        print(json.dumps(answer, indent=2) if parsed.json else text(answer), flush=True)


def moment_of(flag: str, text: str, now_s: float) -> float:
    """A time that a flag names (in seconds since 1970)."""
    from sonyc_ml.base.human import moment  # noqa: PLC0415

    with UserMistakes(ValueError, where=f"{flag}: "):
        return moment(text, now_s)


@contextmanager
def _journal(parsed: argparse.Namespace, *, read_only: bool = True) -> Iterator[Journal]:
    from sonyc_ml.node.journal.journal import Journal  # noqa: PLC0415

    journal = Journal(journal_folder(parsed), read_only=read_only)
    try:
        yield journal
    finally:
        journal.close()


# Which journal


def journal_folder(parsed: argparse.Namespace) -> Path:
    """The folder of the journal that flags name, or this machine's."""
    if parsed.state_folder is not None:
        folder: Path = parsed.state_folder
        return folder
    if parsed.output is not None:
        return Path(parsed.output, STATE_FOLDER)
    path = parsed.config or usual_config("--config FILE, --output DIR or --state DIR")
    tables = read_tables(path)
    for table, below in (("state", ""), ("output", STATE_FOLDER)):
        named = tables.get(table, {})
        value = named.get("folder") if isinstance(named, dict) else None
        if isinstance(value, str):
            return Path(path.parent, value, below)
    raise ConfigError(f"{path} has neither state.folder nor output.folder; give --output DIR or --state DIR")
