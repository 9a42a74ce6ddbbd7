"""What several commands share: how one is added, the flags that name a model, what happens when a reader leaves."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.errors import ConfigError

if TYPE_CHECKING:
    from sonyc_ml.outputs.output import Output


def add_model_flags(parser: argparse.ArgumentParser, *, required: bool = False, with_path: bool = True) -> None:
    """Add the flags that name a model and say how it runs; `with_path`, with ``--model``, which may be `required`."""
    flags = parser.add_argument_group("model")
    if with_path:
        flags.add_argument(
            "--model",
            required=required,
            type=Path,
            metavar="NAME.tflite",
            help="the network; its manifest is NAME.json (default: the bundle that comes with sonyc-ml)",
        )
    flags.add_argument(
        "--input-kind",
        choices=("pickled", "log_mel", "pcm"),
        help="what the network reads: features of NAME.pkl, log-mel, or samples (default: as the manifest says)",
    )
    flags.add_argument(
        "--trusted-keys", type=Path, metavar="FILE", help="load only bundles signed by one of these public keys"
    )
    add_trust_owner(flags)
    flags.add_argument(
        "--golden",
        choices=("once", "always", "never"),
        help="when to check the bundle's numbers against its golden vector (default once)",
    )
    _add_window_flags(flags)
    add_network_flags(flags)
    flags.add_argument(
        "--reads",
        metavar="NAME.tflite:TRACK",
        help="hear this track of a bundle that turns sound into tracks, instead of the recording itself",
    )
    _add_runtime_flags(flags)


def _add_window_flags(flags: argparse._ArgumentGroup) -> None:
    flags.add_argument(
        "--hop-size", type=float, metavar="SECONDS", help="distance between windows (default: the extractor's)"
    )
    flags.add_argument("--duration", type=float, metavar="SECONDS", help="length of a window (default: the model's)")
    flags.add_argument("--target-sr", type=int, metavar="HZ", help="sample rate of a network that reads samples")
    flags.add_argument(
        "--outputs",
        metavar="KIND=N,…",
        help="which output is the embedding and which the scores, as in scores=0,embedding=1",
    )
    flags.add_argument(
        "--feature",
        action="append",
        dest="features",
        metavar="NAME=VALUE,…",
        help="a parameter of the features, as in preset=yamnet or n_mels=40,center=false; may be repeated",
    )


def add_network_flags(flags: argparse._ActionsContainer) -> None:
    """Add what says more of a network than which output is which: constants, activation."""
    flags.add_argument(
        "--constant",
        action="append",
        dest="constants",
        metavar="INPUT=VALUE",
        help="what a further input of the network holds: a number, or several as in place=48.1,11.6; may be repeated",
    )
    flags.add_argument(
        "--activation",
        choices=("sigmoid", "softmax", "reconstruction_error", "none"),
        help="what makes scores of the network's numbers; an autoencoder's is its output's distance from its input "
        "(default: as the manifest says)",
    )
    flags.add_argument(
        "--sensitivity",
        type=float,
        metavar="X",
        help="of a sigmoid, from 0.5 to 1.5: what is less certain scores higher",
    )


def add_detection_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what becomes of scores, and what outputs keep of the numbers."""
    flags = parser.add_argument_group("detections, and what outputs keep")
    flags.add_argument(
        "--detect",
        metavar="X,LABEL=X,…",
        help="detect classes from this score on, and single classes from their own; none for no detections (default: "
        "as the manifest says)",
    )
    flags.add_argument(
        "--place",
        metavar="LAT,LON",
        help="detect only classes that the bundle's location model expects at this place, as in 48.1,11.6",
    )
    flags.add_argument(
        "--week", type=int, metavar="N", help="with --place: when, from 1 to 48 (default: when a recording begins)"
    )
    add_keep_flags(flags)


def add_keep_flags(flags: argparse._ActionsContainer) -> None:
    """Add the flags that say what outputs keep of the numbers."""
    flags.add_argument(
        "--scores", choices=("all", "top-k", "none"), help="which scores outputs keep of each window (default all)"
    )
    flags.add_argument("--top-k", type=int, metavar="K", help="how many, with --scores top-k (default 5)")
    for what in ("score", "embedding"):
        flags.add_argument(
            f"--{what}-dtype", choices=("float32", "float16"), help=f"of {what}s in outputs (default float32)"
        )


def add_level_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that ask for sound levels."""
    flags = parser.add_argument_group("sound levels")
    flags.add_argument(
        "--levels",
        action="store_true",
        help="measure LAeq, LCeq, LAFmax, percentiles and third octaves; without --model, nothing else",
    )
    flags.add_argument("--level-period", type=float, metavar="SECONDS", help="over which they are taken (default 1)")
    flags.add_argument(
        "--level-bands", choices=("third-octave", "octave", "none"), help="which bands (default third-octave)"
    )
    flags.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="of the microphone, by sonyc-ml calibrate (default: none, and levels are in dBFS)",
    )


def level_table(parsed: argparse.Namespace) -> dict[str, Any] | None:
    """What is said of sound levels, by the keys of ``[levels]``; None where none are asked for."""
    pairs = (("period_s", "level_period"), ("bands", "level_bands"), ("calibration", "calibration"))
    table = {key: value for key, name in pairs if (value := getattr(parsed, name)) is not None}
    return {"enabled": True, **table} if parsed.levels or table else None


def detection_parameters(parsed: argparse.Namespace) -> dict[str, Any]:
    """What ``--detect`` says, by the keys of ``[detections]``; empty where it is not given."""
    if parsed.detect == "none":
        return {"enabled": False}
    found = {} if parsed.detect is None else {"enabled": True, **parse_thresholds(parsed.detect, "--detect")}
    if parsed.place is not None:
        found["place"] = _parse_place(parsed.place)
    return found if parsed.week is None else {**found, "week": parsed.week}


def _parse_place(text: str) -> list[float]:
    try:
        return [float(value) for value in text.split(",")]
    except ValueError:
        raise ConfigError(f"--place takes LATITUDE,LONGITUDE in degrees, as in 48.1,11.6, not {text!r}") from None


def keep_parameters(parsed: argparse.Namespace) -> dict[str, Any]:
    """What is said of what outputs keep, by the keys of ``[output]``."""
    names = ("scores", "top_k", "score_dtype", "embedding_dtype")
    return {name: value for name in names if (value := getattr(parsed, name)) is not None}


def parse_thresholds(text: str, flag: str) -> dict[str, Any]:
    """``0.6,siren=0.3`` to ``threshold`` and ``thresholds``, as far as it names them; a label may hold commas."""
    thresholds: dict[str, float] = {}
    label = ""
    for part in text.split(","):
        label = f"{label},{part}" if label else part
        name, _, value = label.rpartition("=")
        try:
            thresholds[name.strip()] = float(value)
        except ValueError:
            continue  # the label goes on behind the comma
        label = ""
    if label or not text:
        raise ConfigError(f"{flag} takes X and LABEL=X, as in 0.5 or 0.6,siren=0.3, not {text!r}")
    found: dict[str, Any] = {"threshold": thresholds.pop("")} if "" in thresholds else {}
    return found | ({"thresholds": thresholds} if thresholds else {})


def add_trust_owner(flags: argparse._ActionsContainer) -> None:
    """Add ``--trust-owner``, for the shared folders of a laboratory."""
    flags.add_argument(
        "--trust-owner",
        action="append",
        dest="trust_owners",
        metavar="USER",
        help="take bundle files that belong to USER too, not only root's and yours; may be given several times",
    )


def _add_runtime_flags(flags: argparse._ArgumentGroup) -> None:
    flags.add_argument("--channel", type=int, metavar="N", help="channel to read, from 0 (default: the mean of all)")
    flags.add_argument("--num-threads", type=int, metavar="N", help="threads of the network (default 1)")
    flags.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="windows that are computed at once, where the network allows it (default 1)",
    )
    flags.add_argument("--backend", choices=("litert", "tflite-runtime"), help="runtime (default: the one installed)")
    flags.add_argument(
        "--reference-kernels",
        action="store_true",
        default=None,
        help="run without a delegate: slower, and the same numbers on every machine",
    )


MODEL_FLAGS = (
    "input_kind",
    "trusted_keys",
    "trust_owners",
    "golden",
    "hop_size",
    "duration",
    "target_sr",
    "activation",
    "sensitivity",
    "channel",
    "num_threads",
    "batch_size",
    "backend",
    "reference_kernels",
    "reads",
)


def model_parameters(parsed: argparse.Namespace) -> dict[str, Any]:
    """Keywords for ``load_model`` from the flags that were given."""
    parameters = {name: getattr(parsed, name) for name in MODEL_FLAGS if getattr(parsed, name) is not None}
    if parsed.outputs:
        parameters["outputs"] = parse_outputs(parsed.outputs)
    if parsed.features:
        parameters["features"] = parse_features(parsed.features)
    if parsed.constants:
        parameters["constants"] = parse_constants(parsed.constants)
    return parameters


def parse_features(texts: Iterable[str]) -> dict[str, Any]:
    """``n_mels=40,center=false`` to a mapping; names may have hyphens, as the flags of ``bundle make``."""
    from sonyc_ml.authoring.parameters import LOG_MEL, WINDOWS, value_of  # noqa: PLC0415  few commands have features

    known = [flag.removeprefix("--").replace("-", "_") for flag, *_ in (*WINDOWS, *LOG_MEL)] + ["n_channels"]
    found: dict[str, Any] = {}
    for text in ",".join(texts).split(","):
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            raise ConfigError(f"--feature takes NAME=VALUE, and NAME is one of {', '.join(known)}, not {text!r}")
        found[name] = value_of(value.strip())
    return found


def parse_constants(texts: Iterable[str]) -> dict[str, Any]:
    """``place=48.1,11.6`` to a mapping; the name of an input may hold any character."""
    constants: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.rpartition("=")
        try:
            numbers = [_number(value.strip()) for value in values.split(",")]
        except ValueError:
            equals = ""
        if not (name and equals):
            raise ConfigError(f"--constant takes INPUT=NUMBER, or INPUT=NUMBER,NUMBER,…, not {text!r}")
        constants[name] = numbers if len(numbers) > 1 else numbers[0]
    return constants


def _number(text: str) -> float | bool:
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        return float(text)


def parse_outputs(text: str) -> dict[str, int | str]:
    """``scores=0,embedding=1`` to a mapping."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise ConfigError(f"--outputs takes KIND=NUMBER, as in scores=0,embedding=1, not {text!r}")
    return {kind.strip(): output.strip() for kind, _, output in pairs}


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Add a command.

    Parameters
    ----------
    commands : action of argparse
        What the program's parser takes commands into.
    name : str
    run : callable
        Carries it out; returns the exit status.
    text : str
        What it does, in lower case without a full stop.
    epilog : str, optional
        What is shown behind its flags.
    """
    texts = {"help": text, "description": f"{text[0].upper()}{text[1:]}.", "epilog": epilog}
    formatter = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(name, **texts, formatter_class=formatter)
    parser.set_defaults(run=run)
    return parser


def outputs_in(paths: Iterable[Path]) -> Iterator[Output]:
    """The outputs of files and folders; there must be one in each."""
    from sonyc_ml.outputs.reading import iter_outputs  # noqa: PLC0415  imports numpy

    for path in paths:
        is_empty = True
        for output in iter_outputs(path):
            is_empty = False
            yield output
        if is_empty:
            raise ConfigError(f"there are no outputs in {path}")


@contextmanager
def until_reader_leaves() -> Iterator[None]:
    """Write to standard output for as long as somebody reads it: `| head` ends quietly."""
    try:
        yield
    except BrokenPipeError:  # who reads has read enough; what is left must not be flushed at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
