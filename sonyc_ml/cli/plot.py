"""``sonyc-ml plot``: pictures of a recording, of an output, of a day."""

from __future__ import annotations

import argparse
import stat
import sys
from collections.abc import Mapping
from datetime import UTC, date, tzinfo
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.base.human import count, shown, to_install
from sonyc_ml.cli.flags import add_command, add_model_flags, model_parameters
from sonyc_ml.errors import ConfigError, SonycMLError, UserMistakes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sonyc_ml.model import Model

OK = 0
OUTPUT_SUFFIXES = (".npz", ".csv")
SMALLEST_INCH, LARGEST_INCH = 3.0, 60.0
DOTS = range(30, 1201)
MOST_LISTED = 5  # files that are left out

EPILOG = """\
examples:
  sonyc-ml plot street.wav --model models/NAME.tflite
  sonyc-ml plot embeddings/street.wav.npz --recording street.wav --output street.svg
  sonyc-ml plot embeddings/ --day 2026-11-21 --time-zone Europe/Berlin --output day.pdf

The picture of a recording shows its waveform, the log-mel that the network reads, the embedding and the scores on one
time axis. The picture of an output shows the embedding and the scores; with --recording also the waveform, and with
--model also the log-mel. The picture of a folder shows the classes over a day and a map of the embeddings; times
without recordings are hatched. Without scores it shows the principal components of the embeddings. Pictures need
matplotlib and scipy, the extra plot: docs/install.md."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``plot`` to a parser's commands."""
    parser = add_command(commands, "plot", _plot, texts["plot"], EPILOG)
    parser.add_argument("input", type=Path, metavar="RECORDING, OUTPUT or DIR", help="DIR is a folder of outputs")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help=".png, .svg or .pdf (default: beside the input, as INPUT.png)"
    )
    parser.add_argument("--recording", type=Path, metavar="FILE", help="what the output was made of")
    parser.add_argument(
        "--day", metavar="DATE", help="of a folder, as in 2026-11-21, or all (default: the day with most recordings)"
    )
    parser.add_argument("--time-zone", metavar="NAME", help="of the day and its hours (default UTC)")
    parser.add_argument(
        "--size", metavar="WIDTHxHEIGHT", help="in inches; 7.2 alone is the width (default 7.2, as high as it needs)"
    )
    parser.add_argument("--dpi", type=int, default=300, metavar="N", help="dots per inch (default 300)")
    add_model_flags(parser)


def _plot(parsed: argparse.Namespace) -> int:
    _check_installed()
    from sonyc_ml.analysis.plots import style as drawing  # noqa: PLC0415  imports matplotlib

    is_folder = _is_folder(parsed.input)
    if parsed.dpi not in DOTS:
        raise ConfigError(f"--dpi must be from {DOTS[0]} to {DOTS[-1]}, and is {parsed.dpi}")
    size = _size(parsed.size)
    path = parsed.output or _beside(parsed)
    drawing.check_suffix(path)
    with drawing.style():
        figure = _folder(parsed, size) if is_folder else _file(parsed, size)
        drawing.save(figure, path, parsed.dpi)
    print(shown(str(path)))
    return OK


def _is_folder(path: Path) -> bool:
    """Whether there are many outputs in it: a folder, or a part of a dataset."""
    try:
        return stat.S_ISDIR(path.stat().st_mode) or path.suffix == ".parquet"
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _check_installed() -> None:
    for name in ("matplotlib", "scipy"):  # an extra: only those who draw have them
        try:
            import_module(name)
        except ImportError as error:
            raise ConfigError(f"pictures need {name}, which is not installed; {to_install('plot')}") from error


def _beside(parsed: argparse.Namespace) -> Path:
    """Where a picture goes that nobody named: beside the input, with its whole name."""
    source: Path = parsed.input
    if not source.is_dir():
        return source.with_name(f"{source.name}.png")
    source = source.resolve()
    return source.with_name(f"{source.name}.{parsed.day}.png" if parsed.day else f"{source.name}.png")


def _size(text: str | None) -> tuple[float | None, float | None]:
    """``7.2x4`` to inches; None for what is not given."""
    if text is None:
        return None, None
    try:
        width, height = (float(part) if part else None for part in text.lower().partition("x")[::2])
    except ValueError:
        width = height = None
    if width is None or not all(SMALLEST_INCH <= (inch or width) <= LARGEST_INCH for inch in (width, height)):
        raise ConfigError(
            f"--size takes inches from {SMALLEST_INCH:g} to {LARGEST_INCH:g}, as in 7.2x4 or 7.2, not {text!r}"
        )
    return width, height


def _folder(parsed: argparse.Namespace, size: tuple[float | None, float | None]) -> Figure:
    from sonyc_ml.analysis.plots.day import draw, look_at  # noqa: PLC0415
    from sonyc_ml.analysis.plots.style import WIDTH_INCH  # noqa: PLC0415
    from sonyc_ml.outputs.reading import iter_outputs  # noqa: PLC0415

    _refuse(parsed, ("recording", "model"), "a folder of outputs")
    whole, day = parsed.day == "all", None
    if parsed.day and not whole:
        try:
            day = date.fromisoformat(parsed.day)
        except ValueError as error:
            raise ConfigError(f"--day takes a date, as in 2026-11-21, or all, not {parsed.day!r}") from error
    zone = _zone(parsed.time_zone)
    left_out: dict[str, None] = {}  # outputs are read twice, and each reason is printed once
    try:
        span = look_at(
            lambda: iter_outputs(parsed.input, lambda reason: left_out.update({reason: None})), zone, day, whole=whole
        )
    except (ConfigError, ValueError, OverflowError) as error:
        raise ConfigError(f"{parsed.input}: {error}") from error
    finally:
        _print_left_out(list(left_out))
    return draw(span, size[0] or WIDTH_INCH, size[1])


def _print_left_out(left_out: list[str]) -> None:
    for reason in left_out[:MOST_LISTED]:
        print(f"left out: {shown(reason)}", file=sys.stderr)
    if len(left_out) > MOST_LISTED:
        print(f"left out: {count(len(left_out) - MOST_LISTED, 'other file')}", file=sys.stderr)


def _file(parsed: argparse.Namespace, size: tuple[float | None, float | None]) -> Figure:
    from sonyc_ml.analysis.plots.recording import draw, look_at  # noqa: PLC0415
    from sonyc_ml.analysis.plots.style import WIDTH_INCH  # noqa: PLC0415
    from sonyc_ml.outputs.files import read_output  # noqa: PLC0415

    is_output = parsed.input.suffix.lower() in OUTPUT_SUFFIXES
    if is_output and parsed.model is None and model_parameters(parsed):
        raise ConfigError("flags of a model are given, and not the model that made the output: add --model NAME.tflite")
    _refuse(parsed, ("day", "time_zone", *(() if is_output else ("recording",))), "one file")
    model = None if is_output and parsed.model is None else _model(parsed)
    recording: Path | None = parsed.recording if is_output else parsed.input
    try:
        with UserMistakes(ValueError):
            output = read_output(parsed.input) if is_output or model is None else model.embed_file(parsed.input)
    except SonycMLError:
        raise
    except OSError as error:
        raise ConfigError(f"{parsed.input}: {error.strerror}") from error
    return draw(look_at(output, recording, model), size[0] or WIDTH_INCH, size[1])


def _model(parsed: argparse.Namespace) -> Model:
    from sonyc_ml.model.loading import load_model  # noqa: PLC0415

    with UserMistakes(ValueError, TypeError):
        return load_model(parsed.model, **model_parameters(parsed))


def _refuse(parsed: argparse.Namespace, flags: tuple[str, ...], what: str) -> None:
    for flag in flags:
        if getattr(parsed, flag) is not None:
            raise ConfigError(f"--{flag.replace('_', '-')} is not for {what}: leave it out")


def _zone(name: str | None) -> tzinfo:
    from sonyc_ml.sound.start_time import named_zone  # noqa: PLC0415

    with UserMistakes(ValueError, where="--time-zone: "):
        return UTC if name is None else named_zone(name)
