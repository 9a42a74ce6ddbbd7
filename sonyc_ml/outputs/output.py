"""What an output is: the embedding of one recording, and where it comes from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.human import count, seconds_of
from sonyc_ml.base.records import dataclass
from sonyc_ml.outputs.detection_arrays import to_arrays
from sonyc_ml.outputs.detections import Detection, highest_of, label_lookup
from sonyc_ml.outputs.kinds import COMPUTED, KINDS, describe_arrays
from sonyc_ml.outputs.levels import arrays_of

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.result import SoundLevels

NOT_FINITE = "NaN or infinity"  # in a note, of what the network gave
FORMAT_VERSION = 1
CLOCK_STATES = {True: "yes", False: "no", None: "unknown"}  # whether a clock is synchronised
N_IN_LINE = 3  # detections in a line of a log


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an output comes from: everything needed to make it again.

    Attributes
    ----------
    recording : str
        Path of the recording, relative to the folder it was found in.
    recording_sha256 : str
    recording_bytes, recording_mtime_ns : int
        Size and time of the recording when it was read: with its path, its identity.
    sample_rate : int
        Of the recording (in Hz).
    n_samples : int
        Of the recording, each channel.
    start_time : str
        When the recording begins, ISO 8601 with its zone.
    start_time_source : str
        Where that is from: ``name``, ``audiomoth``, ``guano``, ``bext``, ``mtime`` or ``live``; see
        :class:`sonyc_ml.sound.start_time.StartTime`.
    clock_synchronised : str
        Whether a time server had set the machine's clock when it was embedded: ``yes``, ``no`` or ``unknown``.
    salvaged : bool
        Whether the recording was truncated, never finished, or not as long as its header said; this is what there is.
    bundle, bundle_sha256 : str
        Name of the bundle, and the SHA-256 of its manifest, which holds those of its files.
    window_size_s, hop_size_s : float
        Length of a window and distance between two (in seconds).
    res_type : str
        Resampler of the extractor; empty where only the extractor knows.
    versions : str
        Of the package and of what computed the numbers, ``name version`` joined by ``; ``.
    parameters : str
        What else decides the numbers and was not left as it comes, as a JSON object: the channel, which output of the
        network is what, the extractor's own; empty where there is nothing. Outputs from before it was kept have none.
    note : str
        What was taken to be other than the file says, and what is no number of the network's; empty for most.
    segments : str
        Of a triggered recording, the stretches that it holds, as a JSON array of where each begins (in samples since
        the recording began) and how long it is (in samples); empty for every other.
    n_elapsed : int
        Length of the recording in time (in samples), with what was left out; 0 where that is `n_samples`.
    start_time_doubt : str
        Why `start_time` may be wrong, as in ``before 2000``; empty where nothing speaks against it.
    level_dbfs : float
        Root mean square without the constant part, in dB of full scale, -200 where nothing is left; infinity in
        outputs from before it was kept.
    clipped_share, identical_share : float
        Share of the samples at either end of the scale, and of those that are the same as the one before.
    without_sound : bool
        Whether there is nothing to hear in it, as from a dead microphone; see :mod:`sonyc_ml.sound.levels`.
    node : str
        Which node heard it, and where that stands: see :meth:`sonyc_ml.sound.node.Node.record`; empty for most batches.
    format_version : int
    """

    recording: str
    recording_sha256: str
    recording_bytes: int
    recording_mtime_ns: int
    sample_rate: int
    n_samples: int
    start_time: str
    start_time_source: str
    clock_synchronised: str
    salvaged: bool
    bundle: str
    bundle_sha256: str
    window_size_s: float
    hop_size_s: float
    res_type: str
    versions: str
    parameters: str = ""
    note: str = ""
    segments: str = ""
    n_elapsed: int = 0
    start_time_doubt: str = ""
    level_dbfs: float = math.inf
    clipped_share: float = 0.0
    identical_share: float = 0.0
    without_sound: bool = False
    node: str = ""
    format_version: int = FORMAT_VERSION

    def __repr__(self) -> str:
        marks = "".join(f", {mark}" for mark in self.marks)
        start = f" from {self.start_time}" if self.start_time else ""
        sound = f"{self.duration_s:g} s at {self.sample_rate} Hz{start}{marks}"
        made_by = f"{self.bundle} {self.bundle_sha256[:12]}"
        return f"<Provenance of {self.recording!r}: {sound}; by {made_by} every {self.hop_size_s:g} s>"

    @property
    def duration_s(self) -> float:
        """Length of the recording in time, in seconds; of a triggered one with what was not recorded."""
        return (self.n_elapsed or self.n_samples) / self.sample_rate

    @property
    def is_live(self) -> bool:
        """Whether the sound came as a stream, and was never a file."""
        return self.start_time_source == "live"

    @property
    def marks(self) -> tuple[str, ...]:
        """What is out of the ordinary with the recording, in a word or two each to count by; empty for most."""
        is_finite = NOT_FINITE not in self.note
        is_explained = not is_finite or self.salvaged or bool(self.segments) or self.is_live
        marks = {
            "salvaged": self.salvaged,
            "triggered": bool(self.segments),
            "with a wrong header": bool(self.note) and not is_explained,
            "without sound": self.without_sound,
            f"with {NOT_FINITE}": not is_finite,
        }
        return tuple(mark for mark, holds in marks.items() if holds)

    @property
    def spans_s(self) -> list[tuple[float, float]]:
        """Where each stretch of sound without a gap begins and ends, in seconds since the recording began."""
        stretches = json.loads(self.segments) if self.segments else [[0, self.n_samples]]
        return [(start / self.sample_rate, (start + n_samples) / self.sample_rate) for start, n_samples in stretches]

    @property
    def fingerprint(self) -> str:
        """What made it, but for the recording; see :func:`fingerprint_of`."""
        return fingerprint_of(self.bundle_sha256, self.window_size_s, self.hop_size_s, self.res_type, self.parameters)


@lru_cache(maxsize=64)  # of a day's thousands of outputs most are made in one way
def fingerprint_of(bundle_sha256: str, window_size_s: float, hop_size_s: float, res_type: str, parameters: str) -> str:
    """Tell one way of making outputs from another: the bundle and everything that decides what it makes.

    Runtime and versions are left out: a golden vector holds them together.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    parts = (bundle_sha256, f"{window_size_s:.9g}", f"{hop_size_s:.9g}", res_type, parameters)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def provenance_of(value: Callable[[str], Any], names: Collection[str]) -> Provenance:
    """Put a provenance together from what a file holds; what was not kept yet when it was written has its default.

    Parameters
    ----------
    value : callable
        A value by its name, as plain Python.
    names : collection of str
        Of the values there are.

    Raises
    ------
    Exception
        That of `value`, where one is missing.
    """
    return Provenance(**{name: value(name) for name in fields_of(names)})


def fields_of(names: Collection[str]) -> list[str]:
    """What a provenance takes of the values that a file holds; what it does without has its default."""
    return [field.name for field in fields(Provenance) if field.name in names or field.default is MISSING]


class Highest(NamedTuple):
    """The highest score of a class in a recording.

    Attributes
    ----------
    label : str
    class_number : int
    start_s : float
        Where the window of this score begins, or the detection (in seconds from the recording's first sample).
    score : float
    """

    label: str
    class_number: int
    start_s: float
    score: float


def _highest_detections(detections: Sequence[Detection], n: int) -> list[Highest]:
    """The same of detections: of each class the one with the highest score."""
    best: dict[int, Highest] = {}
    for one in sorted(detections, key=lambda one: -one.score_max):
        best.setdefault(one.class_number, Highest(one.label, one.class_number, one.start_s, one.score_max))
    return list(best.values())[:n]


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one recording became.

    Attributes
    ----------
    timestamps : np.ndarray [shape=(n_windows,), dtype=float64]
        Where each window begins, in seconds from the recording's first sample. Windows are laid over the middle of
        the recording, so that where they do not fit exactly the first begins a little before it, at a negative time.
    embedding : np.ndarray [shape=(n_windows, n_dims), dtype=float32] or None
    scores : np.ndarray [shape=(n_windows, n_classes), dtype=float32] or None
        float16 where that was asked for, as in :class:`~sonyc_ml.outputs.rules.Kept`; the embedding too.
    top_classes : np.ndarray [shape=(n_windows, k), dtype=int32] or None
        Where not the scores of all classes are kept: which have the highest, by their columns among all.
    top_scores : np.ndarray [shape=(n_windows, k), dtype=float32] or None
        Their scores, falling.
    detections : tuple of Detection or None
        What was heard; None where nobody asked for it.
    levels : SoundLevels or None
        How loud it was; None where nobody asked for it.
    labels : tuple of str
        Of the scores' columns; of an output without them, of the classes that occur in it. Empty where the bundle has
        none.
    label_numbers : tuple of int
        Of an output without the scores of all classes, which class each label is of.
    provenance : Provenance
    """

    timestamps: npt.NDArray[np.float64]
    embedding: npt.NDArray[np.float32] | None = None
    scores: npt.NDArray[np.float32] | None = None
    top_classes: npt.NDArray[np.int32] | None = None
    top_scores: npt.NDArray[np.float32] | None = None
    detections: tuple[Detection, ...] | None = None
    levels: SoundLevels | None = None
    labels: tuple[str, ...] = ()
    label_numbers: tuple[int, ...] = ()
    provenance: Provenance

    def __repr__(self) -> str:
        shapes = describe_arrays(self.by_kind())
        heard = "" if self.detections is None else f", {count(len(self.detections), 'detection')}"
        heard += "" if self.levels is None else f", {self.levels!r}"
        return f"<Output of {self.provenance.recording!r}: {len(self.timestamps)} windows{shapes}{heard}>"

    def by_kind(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of those kinds of :data:`sonyc_ml.outputs.kinds.KINDS` that the output has, in their order."""
        arrays = {name: getattr(self, name) for name in KINDS}
        return {name: array for name, array in arrays.items() if array is not None}

    def computed(self) -> dict[str, npt.NDArray[Any]]:
        """Those of :meth:`by_kind` whose rows can be averaged and drawn: what networks compute of each window."""
        return {name: array for name, array in self.by_kind().items() if name in COMPUTED}

    def likeliest(self) -> str:
        """The label with the highest score of any window, as in ``siren 0.83``; empty where there are no labels."""
        highest = self.highest(1) if self.labels else []
        return f"{highest[0].label} {highest[0].score:.2f}" if highest else ""

    def describe_heard(self) -> str:
        """What was heard, for a line of a log: the detections with the highest scores, else the likeliest label."""
        if self.detections is None:
            return self.likeliest()
        best = sorted(self.detections, key=lambda one: -one.score_max)[:N_IN_LINE]
        named = [f"{one.label} {one.score_max:.2f} at {one.start_s:.1f} s" for one in best]
        more = len(self.detections) - len(best)
        return ", ".join([*named, f"{count(more, 'more detection')}"] if more else named) or "no detections"

    def highest(self, n: int) -> list[Highest]:
        """The classes with the highest scores of any window, the highest first, at most so many.

        Of an output without the scores of all classes, by what it holds: the highest scores of each window, or its
        detections.
        """
        if self.scores is None and self.top_scores is None:
            return _highest_detections(self.detections or (), n)
        if not len(self.timestamps):
            return []
        if self.scores is not None:
            classes, _ = highest_of(self.scores.max(axis=0)[None], n)
            pairs = [(number, int(self.scores[:, number].argmax())) for number in classes[0].tolist()]
            scores: Any = self.scores
            found = [(number, window, float(scores[window, number])) for number, window in pairs]
        else:
            found = self._highest_kept(n)
        label = label_lookup(self.labels, self.label_numbers)
        return [
            Highest(label(number), number, float(self.timestamps[window]), score) for number, window, score in found
        ]

    def _highest_kept(self, n: int) -> list[tuple[int, int, float]]:
        """Class, window and score of the highest that are kept of each window, each class once."""
        assert self.top_scores is not None
        assert self.top_classes is not None
        scores, classes = self.top_scores.ravel(), self.top_classes.ravel()
        order = np.lexsort((np.arange(len(scores)), classes, -scores))
        _, firsts = np.unique(classes[order], return_index=True)
        best = order[np.sort(firsts)[:n]]
        return [(int(classes[i]), int(i) // self.top_scores.shape[1], float(scores[i])) for i in best]

    def times(self) -> npt.NDArray[np.datetime64]:
        """When each window begins.

        Returns
        -------
        np.ndarray [shape=(n_windows,), dtype=datetime64[us]]
            In UTC; NaT where nobody says when the recording begins.
        """
        return self.times_at(self.timestamps)

    def times_at(self, moments_s: npt.NDArray[np.float64]) -> npt.NDArray[np.datetime64]:
        """When moments of the recording are, given in seconds from its first sample; as :meth:`times`."""
        if not self.provenance.start_time:
            return np.full(len(moments_s), np.datetime64("NaT"), dtype="datetime64[us]")
        start_us = round(seconds_of(self.provenance.start_time) * 1e6)
        return (start_us + np.rint(moments_s * 1e6).astype(np.int64)).astype("datetime64[us]")

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything by name, as plain arrays that ``np.load(allow_pickle=False)`` reads."""
        named: dict[str, Any] = {"timestamps": self.timestamps, **self.by_kind()}
        named["labels"] = self.labels or None
        if self.label_numbers:
            named["label_numbers"] = np.array(self.label_numbers, np.int32)
        if self.detections is not None:
            named |= to_arrays(self.detections)
        named |= arrays_of(self.levels)
        named |= {field.name: getattr(self.provenance, field.name) for field in fields(Provenance)}
        return {name: np.asarray(value) for name, value in named.items() if value is not None}
