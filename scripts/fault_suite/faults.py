"""``scripts/faults``: every fault that was asked for, and what it came to."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from scripts.fault_suite import (
    folders,
    full_disk,
    killer,
    kills,
    memory_growth,
    odd_files,
    overflow,
    overload_hour,
    power_cuts,
    safety_cost,
    system_calls,
)
from scripts.fault_suite.beside import page_kills, upload_kills, upload_outage
from scripts.fault_suite.live import live_disk, live_kills, live_segments, live_slow
from scripts.fault_suite.rig import Options, Row
from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring import make as maker
from tests.support import networks

# In the order in which they are tried.
ROWS: dict[str, Callable[[Options], list[Row]]] = {
    "kill": kills.run,
    "syscalls": system_calls.run,
    "power": power_cuts.run,
    "full": full_disk.run,
    "overflow": overflow.run,
    "folder": folders.run,
    "odd": odd_files.run,
    "killer": killer.run,
    "overload": overload_hour.run,
    "memory": memory_growth.run,
    "cost": safety_cost.run,
    "live": live_kills.run,
    "segments": live_segments.run,
    "slow": live_slow.run,
    "disk": live_disk.run,
    "page": page_kills.run,
    "upload": upload_kills.run,
    "outage": upload_outage.run,
}


NOT_IN_BRIEF = {"cost"}  # it is about time alone


def main(arguments: Sequence[str]) -> int:
    """Run the rows; 0 where every promise held, 1 where one did not."""
    parsed = _parser().parse_args(arguments)
    n_broken = 0
    for name in parsed.rows or [name for name in ROWS if not (parsed.brief and name in NOT_IN_BRIEF)]:
        began_s = time.monotonic()
        rows = _run(name, parsed)
        for row in rows:
            if not parsed.untimed:
                row.problems += row.too_slow
            _show(name, row)
            n_broken += bool(row.problems)
        print(f"      {name}: {time.monotonic() - began_s:.0f} s", flush=True)
    return 1 if n_broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Break things, and count what is lost.")
    parser.add_argument(
        "rows", nargs="*", choices=[*ROWS, []], metavar="ROW", help=f"of {', '.join(ROWS)} (default all)"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--long", action="store_true", help="the long part: an hour or more")
    size.add_argument("--brief", action="store_true", help="a quarter of the tries, as among the tests")
    parser.add_argument("--minutes", type=float, help="how long disk listens (default: 25 s; an hour with --long)")
    parser.add_argument("--untimed", action="store_true", help="judge no times: other things run on this machine")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="of what is left to chance")
    return parser


def _run(name: str, parsed: argparse.Namespace) -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
    try:
        bundle = folder / "bundle" / "tiny.tflite"
        bundle.parent.mkdir()
        bundle.write_bytes(networks.dense((1, 64, 51, 1)))
        exporter.export(bundle.with_suffix(".pkl"))
        maker.make_bundle(bundle)
        return ROWS[name](Options(folder, bundle, parsed.long, parsed.seed, parsed.minutes, parsed.brief))
    except Exception as error:  # noqa: BLE001  one row that fails must not hide the others
        return [Row(name, problems=[f"{type(error).__name__}: {error}"])]
    finally:
        _end_what_is_left(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end_what_is_left(folder: Path) -> None:
    """A row that failed may have left its daemon, which would hold up all that follows."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(folder) in command.read_bytes():
                os.kill(int(command.parent.name), signal.SIGKILL)


def _show(name: str, row: Row) -> None:
    verdict = "skip" if row.skipped else "FAIL" if row.problems else "ok"
    counts = ", ".join(f"{key} {value}" for key, value in row.counts.items())
    print(f"{verdict:4}  {name:9} {row.fault}: {row.skipped or counts}", flush=True)
    for problem in row.problems:
        print(f"      {problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
