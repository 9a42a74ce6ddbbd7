"""``scripts/train``: the default bundle's network and head, from the data set and the teacher to ``.tflite`` files.

1. Every clip's windows go through the package's own log-mel extractor (``listening``).
2. For each fold, 16,000 windows are made by augmentation and of sounds of no class, and YAMNet says what it hears in
   them (``sounds``, ``teacher``, ``material``).
3. A student of 19 million multiplications learns what YAMNet's layers make of them, and the classes at once
   (``network``).
4. It is quantised to int8 (``quantise``), and the head's scores are calibrated with held-out clips (``calibrate``).

``evaluate`` does 3 and 4 five times, each time without one fold, and tests on that fold (``evaluate``, ``probe``,
``summary``, ``picture``); what is finished is kept and not done again. ``ship`` trains once on all folds, takes the
calibration from the tests that are finished, and writes the files that are shipped. ``false-alarms`` counts those of a
finished bundle on an hour of synthetic street and of sounds of no class (``false_alarms``).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scripts.training import clips, listening, material, window_cost

if TYPE_CHECKING:
    from scripts.training.evaluate import Tested

Result = TypeVar("Result")

EMBEDDER, HEAD, LABELS = "quantized_default_int8.tflite", "quantized_default_int8_head.tflite", "labels.txt"


def main(arguments: Sequence[str]) -> int:
    """Do what one of :data:`COMMANDS` says."""
    parsed = _parser().parse_args(arguments)
    started = time.monotonic()
    COMMANDS[parsed.command](parsed)
    _say("done", started)
    return 0


def _evaluate(parsed: argparse.Namespace) -> None:
    from scripts.training import evaluate

    folder = _prepared(parsed)
    wanted = [parsed.fold] if parsed.fold else list(_folds())
    missing = [fold for fold in wanted if not evaluate.path_of(parsed.output, fold).exists()]
    _in_processes(evaluate.evaluate_fold, [(fold, folder, parsed.output) for fold in missing], parsed.jobs)
    tested = _tested(parsed.output)
    if len(tested) > 1:  # a fold's scores are calibrated with the others
        _summarise(parsed, tested)
    if parsed.compare:
        accuracies = evaluate.probe_of(parsed.compare, folder)
        print(f"probe of {parsed.compare.name}:", *(f"{accuracy:.1f}" for accuracy in accuracies))


def _summarise(parsed: argparse.Namespace, tested: Sequence[Tested]) -> None:
    from scripts.training import picture, summary

    labels, folds = clips.read_labels(parsed.esc10), summary.judged(tested)
    curves = summary.reliabilities(folds)
    tables = (
        summary.accuracy_table(folds),
        summary.reliability_table(curves, labels),
        summary.alarm_table(folds, labels),
    )
    (parsed.output / "evaluation.md").write_text("\n\n".join(tables) + "\n")
    picture.draw_confusion(summary.confusion(folds, len(labels)), labels, parsed.output / "confusion.png")
    picture.draw_reliability(curves, labels, parsed.output / "reliability.png")
    print(*tables, sep="\n\n")


def _ship(parsed: argparse.Namespace) -> None:
    from scripts.training import evaluate

    if not evaluate.path_of_all(parsed.output).exists():
        _in_processes(evaluate.train_on_all, [(_prepared(parsed), parsed.output)], parsed.jobs)
    tested = _tested(parsed.output)
    if not tested:
        sys.exit(
            f"scripts/train: {parsed.output} has no test to calibrate with; run `scripts/train evaluate`, then again"
        )
    files = _shipped(parsed.output, tested)
    for name, content in zip((EMBEDDER, HEAD), files, strict=True):
        (parsed.output / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")
    (parsed.output / LABELS).write_text("\n".join(clips.read_labels(parsed.esc10)) + "\n")
    if parsed.compare:
        print(window_cost.compared(parsed.output / EMBEDDER, parsed.compare))


def _shipped(output: Path, tested: Sequence[Tested]) -> tuple[bytes, bytes]:
    """The embedder of all folds, and its head with the calibration of the tests."""
    from scripts.training import calibrate, evaluate, network, quantise, summary

    embedder, head = evaluate.read_trained(evaluate.path_of_all(output))
    calibration = calibrate.fitted(calibrate.joined([summary.held(one) for one in tested]))
    return embedder, quantise.to_float(network.calibrated(head, calibration.slopes, calibration.offsets))


def _false_alarms(parsed: argparse.Namespace) -> None:
    from scripts.training import false_alarms

    print(false_alarms.table(false_alarms.counted(parsed.model, parsed.esc10)))


def _tested(output: Path) -> list[Tested]:
    """What the tests found that are finished; says which are not."""
    from scripts.training import evaluate

    paths = {fold: evaluate.path_of(output, fold) for fold in _folds()}
    missing = [str(fold) for fold, path in paths.items() if not path.exists()]
    if missing:
        _say(f"no test of fold {', '.join(missing)} yet")
    return [evaluate.read(path) for path in paths.values() if path.exists()]


def _prepared(parsed: argparse.Namespace) -> Path:
    """Make what every training reads, where it is not there yet, and return its folder."""
    folder: Path = parsed.output / "material"
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    if not (folder / "clips.npz").exists():
        listening.save(listening.listen(clips.read_clips(parsed.esc10)), folder / "clips.npz")
    if not listening.negatives_path(folder).exists():
        listening.save_negatives(folder)
    missing = [fold for fold in _folds() if not material.path_of(folder, fold).exists()]
    _in_processes(material.make_file, [(parsed.esc10, parsed.teacher, folder, fold) for fold in missing], parsed.jobs)
    _say("the material is there", started)
    return folder


def _folds() -> range:
    return range(1, clips.N_FOLDS + 1)


def _in_processes(work: Callable[..., Result], calls: Iterable[tuple[Any, ...]], n_jobs: int) -> list[Result]:
    """Each call in a new process, so that none sees the random state or the memory of another."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        return [future.result() for future in [pool.submit(work, *call) for call in calls]]


def _say(what: str, started: float | None = None) -> None:
    after = "" if started is None else f" after {time.monotonic() - started:.0f} s"
    print(f"scripts/train: {what}{after}", file=sys.stderr, flush=True)


COMMANDS = {"evaluate": _evaluate, "ship": _ship, "false-alarms": _false_alarms}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/train", description="Train the default bundle's network and head.")
    commands = parser.add_subparsers(dest="command", required=True)
    evaluate = commands.add_parser("evaluate", help="train and test on the five folds")
    evaluate.add_argument("--fold", type=int, choices=_folds(), metavar="K", help="only the test of this fold, 1 to 5")
    ship = commands.add_parser("ship", help="train on all folds, calibrate with the tests, and export")
    for command in (evaluate, ship):
        command.add_argument("--esc10", type=Path, required=True, metavar="FOLDER", help="ESC-10, as it is published")
        command.add_argument("--teacher", type=Path, required=True, metavar="FILE", help="yamnet.tflite")
        command.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="for results and material")
        command.add_argument("--compare", type=Path, metavar="FILE", help="a network to measure beside it")
        command.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes, 4 GB each")
    alarms = commands.add_parser("false-alarms", help="count a bundle's false alarms on an hour of synthetic sound")
    alarms.add_argument("--model", type=Path, required=True, metavar="FILE", help="the bundle's .tflite file")
    alarms.add_argument("--esc10", type=Path, metavar="FOLDER", help="also on its clips of other classes")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
