"""``scripts/train``: the default bundle's network and head, from the data set and the teacher to ``.tflite`` files.

1. Every clip's windows go through the package's own log-mel extractor (``listening``).
2. For each fold, 16,000 windows are made by augmentation, and YAMNet says what it hears in them (``augment``,
   ``teacher``, ``material``).
3. A student of 16 million multiplications learns YAMNet's embedding and the classes at once (``network``).
4. It is quantised to int8 (``quantise``).

``evaluate`` does 3 and 4 five times, each time without one fold, and tests on that fold (``evaluate``, ``probe``,
``picture``). ``ship`` does them once with all folds and writes the files that are shipped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from scripts.training import clips, listening, material, window_cost

Result = TypeVar("Result")

EMBEDDER, HEAD, LABELS = "quantized_default_int8.tflite", "quantized_default_int8_head.tflite", "labels.txt"


def main(arguments: Sequence[str]) -> int:
    """Prepare what is missing, then evaluate or ship."""
    parsed = _parser().parse_args(arguments)
    folder = parsed.output / "material"
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    _prepare(parsed, folder)
    _say(started, "the material is there")
    COMMANDS[parsed.command](parsed, folder)
    _say(started, "done")
    return 0


def _evaluate(parsed: argparse.Namespace, folder: Path) -> None:
    from scripts.training import evaluate, picture

    outcomes = _in_processes(evaluate.evaluate_fold, [(fold, folder) for fold in _folds()], parsed.jobs)
    table = evaluate.table(outcomes)
    counts = evaluate.confusion(outcomes, "probe_int8", len(clips.read_labels(parsed.esc10)))
    (parsed.output / "evaluation.json").write_text(
        json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n"
    )
    (parsed.output / "evaluation.md").write_text(table + "\n")
    picture.draw_confusion(counts, clips.read_labels(parsed.esc10), parsed.output / "confusion.png")
    print(table)
    if parsed.compare:
        accuracies = evaluate.probe_of(parsed.compare, folder)
        print(f"probe of {parsed.compare.name}:", *(f"{accuracy:.1f}" for accuracy in accuracies))


def _ship(parsed: argparse.Namespace, folder: Path) -> None:
    (files,) = _in_processes(_shipped, [(folder,)], parsed.jobs)
    (parsed.output / EMBEDDER).write_bytes(files.embedder)
    (parsed.output / HEAD).write_bytes(files.head)
    (parsed.output / LABELS).write_text("\n".join(clips.read_labels(parsed.esc10)) + "\n")
    print(f"{EMBEDDER}: {len(files.embedder)} bytes; {HEAD}: {len(files.head)} bytes")
    if parsed.compare:
        print(window_cost.compared(parsed.output / EMBEDDER, parsed.compare))


def _shipped(folder: Path) -> Any:
    from scripts.training import evaluate

    return evaluate.make_files(folder, listening.load(folder / "clips.npz"), without_fold=None)


def _prepare(parsed: argparse.Namespace, folder: Path) -> None:
    """Make what every training reads, where it is not there yet."""
    if not (folder / "clips.npz").exists():
        listening.save(listening.listen(clips.read_clips(parsed.esc10)), folder / "clips.npz")
    missing = [fold for fold in _folds() if not material.path_of(folder, fold).exists()]
    _in_processes(material.make_file, [(parsed.esc10, parsed.teacher, folder, fold) for fold in missing], parsed.jobs)


def _folds() -> range:
    return range(1, clips.N_FOLDS + 1)


def _in_processes(work: Callable[..., Result], calls: Iterable[tuple[Any, ...]], n_jobs: int) -> list[Result]:
    """Each call in a new process, so that none sees the random state or the memory of another."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        return [future.result() for future in [pool.submit(work, *call) for call in calls]]


def _say(started: float, what: str) -> None:
    print(f"scripts/train: {what} after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


COMMANDS = {"evaluate": _evaluate, "ship": _ship}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/train", description="Train the default bundle's network and head.")
    parser.add_argument("command", choices=COMMANDS, help="test on the five folds, or train on all of them and export")
    parser.add_argument(
        "--esc10", type=Path, required=True, metavar="FOLDER", help="ESC-10, as its author publishes it"
    )
    parser.add_argument("--teacher", type=Path, required=True, metavar="FILE", help="yamnet.tflite")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where results and material go")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="a network to measure beside it: its probe or its time"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes at once, 4 GB each")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
