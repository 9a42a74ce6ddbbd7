"""``scripts/test-arm``: a node of another processor, installed and tried in a userland of its own."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from scripts.arm.agreement_table import write_table
from scripts.arm.checks import CHECKS, BrokenError
from scripts.arm.node import Node, node
from scripts.arm.processors import PROCESSORS, SkippedError
from scripts.arm.suite import all_files

BROKEN, SKIPPED = 1, 77  # 77 as automake has it


def main(arguments: Sequence[str]) -> int:
    """Run the checks; 0 where all held, 1 where one did not, 77 where they cannot be run here."""
    parsed = _parser().parse_args(arguments)
    processor = PROCESSORS[parsed.processor]
    begin_s = time.monotonic()
    try:
        if parsed.table:
            write_table()
            return 0
        tests = all_files() if parsed.all else parsed.tests
        with node(processor, is_quick=parsed.quick, tests=tests) as installed:
            _show("ok", "install", installed.said or "installed and checked as deploy/install.sh does it", begin_s)
            all_hold = _run_all(parsed.only or (parsed.tests and ["tests"]) or list(CHECKS), installed)
    except SkippedError as error:
        print(f"scripts/test-arm: skipped: {error}")
        return SKIPPED
    print(f"{processor.name}: {time.monotonic() - begin_s:.0f} s")
    return 0 if all_hold else BROKEN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/test-arm",
        description="Install on a node's own processor, emulated, and test there.",
        epilog="Exit status: 0 all held, 1 something did not, 77 skipped: it cannot be run here.",
    )
    parser.add_argument("processor", nargs="?", choices=list(PROCESSORS), default="arm64", help="(default arm64)")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--all", action="store_true", help="also the tests that no processor changes")
    parser.add_argument("--only", action="append", choices=list(CHECKS), help="this check alone; may be given again")
    parser.add_argument(
        "--tests", nargs="+", default=(), metavar="FILE", help="these of the tests, as in model/test_kinds.py"
    )
    parser.add_argument(
        "--table", action="store_true", help="print how far each processor and runtime is off the oracle"
    )
    return parser


def _run_all(names: Sequence[str], installed: Node) -> bool:
    """Whether all checks held; the tests take longest and run beside the others, which leave cores idle."""
    with ThreadPoolExecutor() as pool:
        tests = [pool.submit(_run, name, installed) for name in names if name == "tests"]
        others = [_run(name, installed) for name in names if name != "tests"]
        return all([*others, *(test.result() for test in tests)])


def _run(name: str, installed: Node) -> bool:
    """Whether a check held; says what it saw."""
    begin_s = time.monotonic()
    try:
        _show("ok", name, CHECKS[name](installed), begin_s)
    except SkippedError as error:
        _show("skip", name, str(error), begin_s)
    except Exception as error:  # noqa: BLE001  one that fails must not hide the others
        text = str(error) if isinstance(error, BrokenError) else f"{type(error).__name__}: {error}"
        _show("FAIL", name, text, begin_s)
        return False
    return True


def _show(verdict: str, name: str, text: str, begin_s: float) -> None:
    print(f"{verdict:4}  {name:9} {text}  ({time.monotonic() - begin_s:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
