"""``sonyc-ml compact`` and ``check``: the parts of an archive merged, and looked through."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import add_command
from sonyc_ml.errors import ConfigError, UserMistakes

if TYPE_CHECKING:
    from sonyc_ml.outputs.archive.checking import Check, Finding, Totals
    from sonyc_ml.outputs.archive.choice import Choice
    from sonyc_ml.outputs.archive.store import Store

OK, FOUND = 0, 1

COMPACT_EPILOG = """\
examples:
  sonyc-ml compact archive/ --until 2026-11-28
  sonyc-ml compact s3://bucket/archive --node pole_12 --node pole_13

A part is in its place before those that it is made of are removed, so others may read meanwhile, and the command may
be ended and begun again. Outputs that are there twice, of the same recording by the same bundle, are there once then.
Parts of other bundles or columns stay apart. Merge days that are over: a later part makes that of its day be written
again.
Exit status: 0, 1 if parts were left as they are, damaged or of a newer schema, 2 if the dataset cannot be read."""

CHECK_EPILOG = """\
examples:
  sonyc-ml check archive/
  sonyc-ml check s3://bucket/archive --since 2026-11-01 --until 2026-12-01 --gap 3600 --json
  sonyc-ml check archive/ --read --ignore bundle,gap

Found are: gap (a node recorded nothing for longer than --gap), double (outputs that are there twice), conflict (two
recordings of one name and start that differ), bundle (made by another bundle or in another way than most), damaged
(parts that cannot be read), newer (of a schema that this version does not know), misplaced (of another node or day than
the folder), table (of detections or levels, missing or left over). Without --read only footers are read.
Exit status: 0 if nothing is found, 1 if something is, 2 if the dataset cannot be read."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``compact`` and ``check`` to a parser's commands."""
    parser = add_command(commands, "compact", _compact, texts["compact"], COMPACT_EPILOG)
    _add_choice(parser)
    parser.add_argument(
        "--target", type=float, default=256.0, metavar="MB", help="a part of this size is large enough (default 256)"
    )
    parser = add_command(commands, "check", _check, texts["check"], CHECK_EPILOG)
    _add_choice(parser)
    parser.add_argument(
        "--gap", type=float, default=600.0, metavar="SECONDS", help="how long a node may have nothing (default 600)"
    )
    parser.add_argument("--read", action="store_true", help="read all rows too, and compare their checksums")
    parser.add_argument("--ignore", default="", metavar="KIND,…", help="kinds that are not shown, as in gap,bundle")


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="its folder, or its address as in s3://bucket/archive")
    parser.add_argument("--node", action="append", metavar="NAME", help="only this one; may be given several times")
    parser.add_argument("--since", metavar="TIME", help="only days from this one on, as in 2026-11-21 (in UTC)")
    parser.add_argument("--until", metavar="TIME", help="only days before this time")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each, for programs")


def _asked(parsed: argparse.Namespace) -> tuple[Store, Choice]:
    from sonyc_ml.outputs.archive.choice import choice_of  # noqa: PLC0415  imports numpy
    from sonyc_ml.outputs.archive.store import store_at  # noqa: PLC0415
    from sonyc_ml.outputs.parquet import check_installed  # noqa: PLC0415

    check_installed()
    with UserMistakes(where="--since and --until: "):
        choice = choice_of(parsed.node, parsed.since, parsed.until)
    return store_at(parsed.dataset), choice


def _compact(parsed: argparse.Namespace) -> int:
    from sonyc_ml.base.human import count, shown  # noqa: PLC0415
    from sonyc_ml.base.lock import STATE_FOLDER  # noqa: PLC0415
    from sonyc_ml.outputs.archive.compacting import compact  # noqa: PLC0415  imports numpy

    store, choice = _asked(parsed)
    if "://" not in parsed.dataset and Path(parsed.dataset, STATE_FOLDER).is_dir():
        raise ConfigError(
            f"{parsed.dataset} is the folder of a batch or a daemon, which knows its parts by their names; copy the "
            "parts into an archive, and merge them there"
        )
    left: list[str] = []
    n_before = n_after = n_doubles = 0
    for merged in compact(store, choice, left.append, round(parsed.target * 1e6)):
        n_before, n_after = n_before + merged.n_before, n_after + merged.n_after
        n_doubles += merged.n_doubles
        if parsed.json:
            said = {"folder": merged.folder, "n_before": merged.n_before, "n_after": merged.n_after}
            print(json.dumps({**said, "n_doubles": merged.n_doubles}), flush=True)
    for reason in dict.fromkeys(left):
        print(f"sonyc-ml: left as it is: {shown(reason)}", file=sys.stderr)
    if not parsed.json:
        removed = f", and {count(n_doubles, 'output')} that were there twice are there once" if n_doubles else ""
        print(f"{parsed.dataset}: {count(n_before, 'part')} became {n_after:,}{removed}")
    return FOUND if left else OK


def _check(parsed: argparse.Namespace) -> int:
    from sonyc_ml.base.human import names_in, shown  # noqa: PLC0415
    from sonyc_ml.outputs.archive.checking import KINDS, Check  # noqa: PLC0415  imports numpy

    ignored = names_in(parsed.ignore)
    if unknown := [name for name in ignored if name not in KINDS]:
        raise ConfigError(f"--ignore takes {', '.join(KINDS)}, not {unknown[0]!r}")
    store, choice = _asked(parsed)
    check = Check(store, choice, parsed.gap, reads_rows=parsed.read)
    n_found = 0
    for finding in _kept(check, ignored):
        n_found += 1
        print(
            json.dumps(finding.as_json()) if parsed.json else shown(f"{finding.kind}: {finding.where}: {finding.text}")
        )
    if parsed.json:
        print(json.dumps(_totals(check.totals, n_found)), flush=True)
    else:
        print(_summary(parsed.dataset, check.totals, n_found), flush=True)
    if not check.totals.n_parts and not n_found:
        raise ConfigError(f"there are no parts in {parsed.dataset} of what is asked for")
    return FOUND if n_found else OK


def _kept(check: Check, ignored: Iterable[str]) -> Iterable[Finding]:
    return (finding for finding in check.findings() if finding.kind not in ignored)


def _totals(totals: Totals, n_found: int) -> dict[str, Any]:
    ways = [{"bundle": name, "fingerprint": way, "n_windows": n} for (name, way), n in totals.ways.most_common()]
    counts = {name: getattr(totals, name) for name in ("n_nodes", "n_parts", "n_bytes", "n_recordings", "n_windows")}
    return {"kind": "totals", **counts, "heard_s": round(totals.heard_s, 3), "n_found": n_found, "bundles": ways}


def _summary(dataset: str, totals: Totals, n_found: int) -> str:
    from sonyc_ml.base.human import count, size, span  # noqa: PLC0415

    found = f"{count(n_found, 'finding')}" if n_found else "nothing is wrong"
    return (
        f"{dataset}: {count(totals.n_nodes, 'node')}, {count(totals.n_parts, 'part')} of {size(totals.n_bytes)}, "
        f"{count(totals.n_recordings)} of {span(totals.heard_s)}, {count(totals.n_windows, 'window')}; {found}"
    )
