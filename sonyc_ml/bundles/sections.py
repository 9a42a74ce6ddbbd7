"""The sections of a manifest: each a table of ``NAME.json`` with keys of its own."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.bundles import waveform
from sonyc_ml.bundles.bounds import check_numbers

INPUT_KINDS = ("pickled", "log_mel", "pcm")
LARGEST_TOLERANCE = {"features_db": 1.0, "scores": 0.5}
LOWEST_COSINE = 0.9
USUAL_COSINE, USUAL_SCORES = 0.9997, 0.05
ACTIVATIONS = ("sigmoid", "softmax", "reconstruction_error", "none")
LOWEST_SENSITIVITY, HIGHEST_SENSITIVITY = 0.5, 1.5
MAX_EMBEDDINGS = 1 << 12  # that a head reads at once
USUAL_EXPECTATION = 0.03  # BirdNET's own
MAX_CONSTANT = 1 << 16  # numbers of one input


@dataclass(frozen=True, slots=True)
class Input:
    """What the network reads: ``pickled`` (features of ``NAME.pkl``), ``log_mel`` or ``pcm`` with their parameters.

    Or ``waveform``: sound, which becomes tracks; see :class:`sonyc_ml.bundles.waveform.Waveform`.
    """

    kind: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = (*INPUT_KINDS, waveform.KIND)
        if self.kind not in kinds:
            raise ValueError(f"kind must be one of {', '.join(kinds)}, not {self.kind!r}")
        try:
            check_numbers(self.parameters)
        except ValueError as error:
            raise ValueError(f"parameters.{error}") from error


@dataclass(frozen=True, slots=True)
class Head:
    """A network of its own, which reads the embedding and gives the scores.

    Attributes
    ----------
    network : str
        Its file.
    n_embeddings : int or None
        How many it reads: that of the window and of those before it, the latest last. Zeros stand for windows before
        the recording began. None for 1.
    """

    network: str
    n_embeddings: int | None = None

    def __post_init__(self) -> None:
        _check_named("network", self.network)
        if self.n_embeddings is not None and not 1 <= self.n_embeddings <= MAX_EMBEDDINGS:
            raise ValueError(f"n_embeddings must be from 1 to {MAX_EMBEDDINGS:,}, not {self.n_embeddings}")


@dataclass(frozen=True, slots=True)
class Location:
    """A network of its own, which reads latitude, longitude and week, and says how likely each class is there then.

    Attributes
    ----------
    network : str
        Its file.
    threshold : float
        From which value on a class is expected, in [0, 1].
    """

    network: str
    threshold: float = USUAL_EXPECTATION

    def __post_init__(self) -> None:
        _check_named("network", self.network)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1, not {self.threshold}")


class Section:
    """One whose keys are None where nothing is said of them, and are left out of the file then."""

    __slots__ = ()

    def given(self) -> dict[str, Any]:
        """What is said, by the keys."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Detections(Section):
    """Which scores become detections: what is said of :class:`sonyc_ml.outputs.rules.DetectionRules`.

    Attributes
    ----------
    enabled : bool or None
        False for no detections, whatever the other keys, and those of who said something before, say.
    """

    enabled: bool | None = None
    threshold: float | None = None
    thresholds: dict[str, float] | None = None
    classes: tuple[str, ...] | None = None
    top_k: int | None = None
    place: tuple[float, ...] | None = None
    week: int | None = None
    merge_s: float | bool | None = None
    min_duration_s: float | None = None
    cool_down_s: float | None = None

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in self.rules().items() if isinstance(value, int | float)}
        numbers |= {f"thresholds.{name}": value for name, value in (self.thresholds or {}).items()}
        for name, value in numbers.items():  # what else they may be, the rules themselves say
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number of 0 or more, not {value}")

    def rules(self) -> dict[str, Any]:
        """What is said of the rules, by their names."""
        return {name: value for name, value in self.given().items() if name != "enabled"}


@dataclass(frozen=True, slots=True)
class Keep(Section):
    """What outputs keep of the numbers: what is said of :class:`sonyc_ml.outputs.rules.Kept`."""

    scores: str | None = None
    top_k: int | None = None
    score_dtype: str | None = None
    embedding_dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Golden:
    """A short signal and what the bundle makes of it, and how far another machine may be off.

    Attributes
    ----------
    file : str
        ``.npz`` with ``y``, ``sample_rate``, ``features`` and the outputs by name.
    features_db : float
        Largest difference of a feature, in its own unit: dB for log-mel; at most 1.
    cosine : float
        Lowest cosine between an embedding and its golden one; at least 0.9.
    scores : float
        Largest difference of a score; at most 0.5.
    """

    file: str
    features_db: float = 5e-3
    cosine: float = USUAL_COSINE
    scores: float = USUAL_SCORES

    def __post_init__(self) -> None:
        _check_named("file", self.file)
        for name in ("features_db", "cosine", "scores"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a number, not {getattr(self, name)}")
        for name, largest in LARGEST_TOLERANCE.items():
            if not 0 <= getattr(self, name) <= largest:
                raise ValueError(f"{name} must be from 0 to {largest:g}: more proves nothing")
        if not LOWEST_COSINE <= self.cosine <= 1:
            raise ValueError(f"cosine must be from {LOWEST_COSINE:g} to 1: less proves nothing")


def _check_named(key: str, name: str) -> None:
    if not name:
        raise ValueError(f"{key} must be the name of a file")


def check_activation(activation: str, sensitivity: float | None) -> None:
    """Refuse what is no activation, or a sensitivity that it does not have, with a ValueError."""
    if activation and activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
    if sensitivity is None:
        return
    if activation != "sigmoid":
        raise ValueError(f"sensitivity is that of the activation sigmoid, and the activation is {activation or 'none'}")
    if not LOWEST_SENSITIVITY <= sensitivity <= HIGHEST_SENSITIVITY:
        raise ValueError(
            f"sensitivity must be from {LOWEST_SENSITIVITY:g} to {HIGHEST_SENSITIVITY:g}, not {sensitivity!r}"
        )


def check_constants(constants: Mapping[str, Any]) -> None:
    """Refuse constants that are neither numbers nor lists of numbers, with a ValueError that names the key."""
    for name, value in constants.items():
        numbers = list(_numbers(value))
        if not numbers or not all(map(_is_finite, numbers)):
            raise ValueError(f"constants.{name} must be a number or a list of numbers, not {str(value)[:80]!r}")
        if len(numbers) > MAX_CONSTANT:
            raise ValueError(f"constants.{name} holds {len(numbers):,} numbers; at most {MAX_CONSTANT:,} are taken")


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    else:
        yield value


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and -sys.float_info.max <= value <= sys.float_info.max
