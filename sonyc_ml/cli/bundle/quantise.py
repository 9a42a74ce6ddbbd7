"""``sonyc-ml bundle quantise``: its flags, and its report as people read it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sonyc_ml.base.human import count, size
from sonyc_ml.errors import BundleError, UserMistakes

if TYPE_CHECKING:
    from sonyc_ml.authoring.quantising.loss import Report
    from sonyc_ml.bundles.about import Quantisation

OK = 0
RECIPES = ("int8", "int16x8", "dynamic", "float16")
BOUNDS = ("max_loss", "min_cosine", "min_agreement")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add what ``bundle quantise`` takes beside its bundle."""
    parser.add_argument(
        "--recordings",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="half of them measure ranges, the others judge; folders named as classes say what is heard",
    )
    parser.add_argument(
        "--recipe",
        required=True,
        choices=RECIPES,
        help="8-bit numbers; 16-bit activations; 8-bit weights alone; 16-bit floats as weights",
    )
    parser.add_argument(
        "--output", type=Path, metavar="NAME.tflite", help="of the new bundle (default: the old name with the recipe)"
    )
    parser.add_argument("--version", default="1.0.0", metavar="X.Y.Z", help="of the new bundle (default 1.0.0)")
    for flag, text in (
        ("--max-loss", "points of accuracy that may be lost (default 1)"),
        ("--min-cosine", "lowest mean cosine between the outputs before and after (default 0.95)"),
        ("--min-agreement", "lowest share of windows with the same top class, where no class is known (default 0.9)"),
    ):
        parser.add_argument(flag, type=float, metavar="X", help=text)
    parser.add_argument("--windows", type=int, default=200, metavar="N", help="to measure ranges on (default 200)")
    parser.add_argument("--held-out", type=int, default=150, metavar="N", help="recordings to judge by (default 150)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another one chooses other recordings")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(parsed: argparse.Namespace) -> int:
    """Carry out ``bundle quantise``."""
    from sonyc_ml.authoring.quantise import measure_quantised  # noqa: PLC0415
    from sonyc_ml.authoring.quantising.material import Choice  # noqa: PLC0415  imports numpy

    with UserMistakes(ValueError, TypeError):
        made = measure_quantised(
            parsed.path,
            parsed.recordings,
            parsed.recipe,
            parsed.output,
            version=parsed.version,
            choice=Choice(n_windows=parsed.windows, n_held_out=parsed.held_out, seed=parsed.seed),
        )
    bounds = {name: getattr(parsed, name) for name in BOUNDS if getattr(parsed, name) is not None}
    refusal = made.report.refusal(**bounds)
    if not refusal:
        made.write()
    if parsed.json:
        print(json.dumps({**made.report.table(), "written": not refusal}, indent=2), flush=True)
    else:
        print(as_text(made.report), flush=True)
    if refusal:
        raise BundleError(refusal)
    if not parsed.json:
        print(f"{made.report.path}: a bundle of its own, with its manifest and golden vector")
    return OK


def _calibration(found: Quantisation) -> str:
    if not found.n_windows:
        return "nothing: this recipe measures none"
    return f"{count(found.n_windows, 'window')} of {count(found.n_recordings)}, seed {found.seed}"


def as_text(report: Report) -> str:
    """Lay a report out for reading."""
    found = report.quantisation
    rows = [
        ("recipe", f"{found.recipe}, by {found.tool}"),
        ("ranges from", _calibration(found)),
        ("judged by", f"{count(report.n_held_out_windows, 'window')} of {count(found.n_held_out)} that were held out"),
        ("size", f"{size(report.bytes_before)} before, {size(report.bytes_after)} after"),
        ("time", f"{report.ms_before:.3f} ms per window before, {report.ms_after:.3f} after, on this machine"),
        ("cosine", f"{found.cosine:.4f} on average, {found.lowest_cosine:.4f} at the lowest"),
    ]
    if found.agreement is None:
        rows.append(("top class", "not known: the network has no scores"))
    else:
        rows.append(("top class", f"the same in {found.agreement:.1%} of the windows"))
    if found.accuracy_before is None or found.accuracy_after is None:
        rows.append(("accuracy", "not known: no recording lies in a folder that is named as a class"))
    else:
        what = f"of {count(found.n_of_classes)} in folders named as classes"
        rows.append(("accuracy", f"{found.accuracy_before:.1%} before, {found.accuracy_after:.1%} after, {what}"))
    rows += [("note", note) for note in report.notes]
    rows += [("not read", reason) for reason in report.lost_recordings]
    return "\n".join(f"{name:12} {text}" for name, text in rows)
