"""What becomes of a model's scores in an output: detections, and all of them, the highest, or none."""

from __future__ import annotations

import calendar
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass, replace
from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.bundles.manifest import Manifest
from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model.interpreter import Interpreter
from sonyc_ml.outputs.detection_arrays import occurring
from sonyc_ml.outputs.detections import Detection, Detector, check_classes, highest_of, label_lookup
from sonyc_ml.outputs.output import NOT_FINITE, Provenance
from sonyc_ml.outputs.rules import N_WEEKS, DetectionRules, Kept
from sonyc_ml.sound.start_time.times import BEFORE_2000, IN_THE_FUTURE, StartTime

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.result import SoundLevels
    from sonyc_ml.sound.levels.settings import LevelSettings
    from sonyc_ml.sound.recording import Recording

# A window's number, a class's label and number, and its score, which reaches its threshold.
Hear: TypeAlias = Callable[[int, str, int, float], None]

LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """What outputs have of the scores; the same for all recordings.

    Attributes
    ----------
    rules : DetectionRules or None
        Of detections, where they are asked for.
    kept : Kept
    labels : tuple of str
        Of the bundle; empty where it has none.
    n_classes : int
        0 where there are no scores.
    location : LocationModel or None
        Of the place that the rules name.
    """

    rules: DetectionRules | None
    kept: Kept
    labels: tuple[str, ...]
    n_classes: int
    location: LocationModel | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """What the outputs' provenance says of it; None for what is as it comes."""
        return {"detections": self.rules and self.rules.recorded(), "keep": self.kept.recorded() or None}

    def begin(self, scratch: Path | None, start: Callable[[], StartTime], hear: Hear | None = None) -> Heard:
        """Begin a recording.

        Parameters
        ----------
        scratch : Path or None
            A folder for what is too much for memory.
        start : callable
            Says when it begins; asked where the classes depend on it.
        hear : callable, optional
            Takes what is heard in each window, as it is computed.
        """
        expected, note = None, ""
        if self.rules is not None and self.location is not None:
            week = self.rules.week or week_of(start())
            expected = self.location.expected(week)
            note = "" if week else "its classes are those that are expected in any week, as its start is in doubt"
        return Heard(self, scratch, expected, note, hear)

    def labels_of(
        self, outputs: Mapping[str, npt.NDArray[Any]], window_size_s: float, duration_s: float, asked: Mapping[str, Any]
    ) -> list[Detection]:
        """When each class was heard.

        Parameters
        ----------
        outputs : mapping of str to np.ndarray
            ``timestamps`` and ``scores``, of all windows.
        window_size_s, duration_s : float
            Of a window, and of the sound (in seconds).
        asked : mapping
            Rules that win over the model's own, by their names.

        Raises
        ------
        ValueError
            There are no scores, or no class that the rules name.
        """
        if "scores" not in outputs:
            raise ValueError("labels need scores, and the bundle has none; a head gives them")
        names = self.labels or tuple(map(label_lookup(()), range(self.n_classes)))
        rules = replace(self.rules or DetectionRules(), **asked)
        expected = self.location.expected(rules.week) if self.location is not None else None
        with Detector(rules, names, None, expected) as detector:
            detector.add(outputs["scores"])
            return list(detector.detections(outputs["timestamps"], window_size_s, duration_s))


def begin_levels(recording: Recording, settings: LevelSettings | None) -> Callable[[], SoundLevels | None]:
    """Begin to measure a recording before it is read; what is returned gives its levels, once it is.

    Parameters
    ----------
    recording : Recording
    settings : LevelSettings or None
        None where no levels are asked for: there are none then.
    """
    if settings is None:
        return lambda: None
    from sonyc_ml.sound.levels.measuring import Measuring  # noqa: PLC0415  most models measure nothing

    return Measuring(recording, settings).levels


def make_hearing(
    bundle: Bundle,
    labels: tuple[str, ...],
    n_classes: int,
    detections: Mapping[str, Any] | None,
    keep: Mapping[str, Any] | None,
) -> Hearing:
    """What a bundle's outputs have of the scores.

    Parameters
    ----------
    bundle : Bundle
    labels : tuple of str
    n_classes : int
    detections, keep : mapping, optional
        What is asked for here, by the names of :class:`~sonyc_ml.outputs.rules.DetectionRules` and
        :class:`~sonyc_ml.outputs.rules.Kept`: each value wins over the manifest's. With ``enabled`` as False there are
        no detections.

    Raises
    ------
    ValueError
        A value cannot be; or there are no scores, or not these classes.
    """
    manifest = bundle.manifest
    rules = _make_rules(manifest, labels, n_classes, dict(detections or {}))
    location = LocationModel(bundle, rules.place, n_classes) if rules and rules.place else None
    said = manifest.keep.given() if manifest and manifest.keep else {}
    kept = Kept(**{**said, **(keep or {})})
    return Hearing(rules=rules, kept=kept, labels=labels, n_classes=n_classes, location=location)


class LocationModel:
    """Which classes are expected at a place, by the week of the year.

    Parameters
    ----------
    bundle : Bundle
    place : tuple of float
        Latitude and longitude (in degrees).
    n_classes : int

    Raises
    ------
    ValueError
        The bundle has no network that says it.
    BundleMismatchError
        The network does not read three numbers, or does not give one for each class.
    """

    def __init__(self, bundle: Bundle, place: tuple[float, ...], n_classes: int) -> None:
        location = bundle.manifest.location if bundle.manifest else None
        if location is None:
            raise ValueError("place needs a location model, and the bundle has none: bundle make --location FILE")
        self._network = Interpreter(bundle.files[location.network])
        try:
            self._network.fit((3,))
        except BundleMismatchError as error:
            raise BundleMismatchError(f"{location.network} must read latitude, longitude and week: {error}") from error
        n_given = math.prod(self._network.row_shapes[0])
        if n_given != n_classes:
            raise BundleMismatchError(f"{location.network} gives {n_given:,} values for {n_classes:,} classes")
        self._place, self._threshold = place, location.threshold
        self._found: dict[int | None, npt.NDArray[np.bool_]] = {}

    def expected(self, week: int | None) -> npt.NDArray[np.bool_]:
        """Which classes are expected in a week, from 1 to 48, or in any: `(n_classes,)`."""
        if week not in self._found:
            weeks = range(1, N_WEEKS + 1) if week is None else [week]
            values = self._network(np.array([[*self._place, week] for week in weeks], np.float32))[0]
            self._found[week] = np.asarray((values.reshape(len(weeks), -1) >= self._threshold).any(axis=0))
        return self._found[week]


def week_of(start: StartTime) -> int | None:
    """In which of the 48 weeks of its year a recording begins, as birdnetlib counts them; None where that is in doubt.

    The time of a file is that of a copy where it was copied, which may be months later.
    """
    if start.doubt in (BEFORE_2000, IN_THE_FUTURE) or start.source == "mtime":
        return None
    day = start.time.timetuple().tm_yday
    return math.ceil(N_WEEKS * day / (366 if calendar.isleap(start.time.year) else 365))


def _make_rules(
    manifest: Manifest | None, labels: tuple[str, ...], n_classes: int, asked: dict[str, Any]
) -> DetectionRules | None:
    """The rules that the manifest and who loads it say together; who loads it also says whether there are any."""
    said = manifest.detections.given() if manifest and manifest.detections else {}
    is_enabled = said.pop("enabled", True) or bool(asked)
    if not asked.pop("enabled", is_enabled and bool(said or asked)):
        return None
    if not n_classes:
        raise ValueError("detections need scores, and the bundle has none; a head gives them")
    rules = DetectionRules(**{**said, **asked})
    try:
        check_classes(rules, labels or [f"scores_{i}" for i in range(n_classes)])
    except ValueError as error:
        raise ValueError(f"detections: the bundle has {error}") from error
    return rules


class Heard:
    """What is heard in one recording, and what is kept of its numbers; to be entered.

    Parameters
    ----------
    hearing : Hearing
    scratch : Path or None
        See :meth:`Hearing.begin`.
    expected : np.ndarray [shape=(n_classes,), dtype=bool], optional
        Which classes can be heard there and then.
    note : str
        What is to be said of them.
    hear : callable, optional
        See :meth:`Hearing.begin`.
    """

    def __init__(
        self,
        hearing: Hearing,
        scratch: Path | None,
        expected: npt.NDArray[np.bool_] | None = None,
        note: str = "",
        hear: Hear | None = None,
    ) -> None:
        self._hearing, self._detector, self._note, self._hear = hearing, None, note, hear
        self._n_not_finite = 0
        self._label = label_lookup(hearing.labels)
        if hearing.rules is not None:
            names = tuple(map(self._label, range(hearing.n_classes)))
            self._detector = Detector(hearing.rules, names, scratch, expected)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._detector is not None:
            self._detector.__exit__()

    def keep(self, outputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """What is kept of the next windows' numbers, by their kind.

        Raises
        ------
        ValueError
            A number is too large for the dtype that is asked for.
        StoreError
            `scratch` cannot hold what is found.
        """
        scores, kept = outputs.get("scores"), self._hearing.kept
        self._n_not_finite += max(map(_count_not_finite, outputs.values()), default=0)
        if self._detector is not None and scores is not None:
            found = self._detector.add(scores)
            if self._hear is not None:
                for row in zip(*(found[name].tolist() for name in ("window", "class", "score")), strict=True):
                    self._hear(row[0], self._label(row[1]), *row[1:])
        if scores is not None and kept.scores != "all":
            outputs = {kind: array for kind, array in outputs.items() if kind != "scores"}
            if kept.scores == "top-k":
                outputs["top_classes"], outputs["top_scores"] = highest_of(scores, kept.top_k)
        dtypes = {"embedding": kept.embedding_dtype, "scores": kept.score_dtype, "top_scores": kept.score_dtype}
        return {kind: _half(array, kind) if dtypes.get(kind) == "float16" else array for kind, array in outputs.items()}

    def noted(self, made: Provenance) -> Provenance:
        """The provenance, with a note on windows for which the network gave something that is no number."""
        not_finite = f"the network gave {NOT_FINITE} for {self._n_not_finite:,} windows" if self._n_not_finite else ""
        notes = "; ".join(filter(None, (made.note, self._note, not_finite)))
        return made if notes == made.note else replace(made, note=notes)

    def fields(self, timestamps: npt.NDArray[np.float64], outputs: dict[str, Any], made: Provenance) -> dict[str, Any]:
        """Everything of an output but its provenance, by the names of :class:`~sonyc_ml.outputs.output.Output`.

        Parameters
        ----------
        timestamps : np.ndarray [shape=(n_windows,), dtype=float64]
        outputs : dict of str to np.ndarray
            All that :meth:`keep` gave.
        made : Provenance
            Of the output.
        """
        fields: dict[str, Any] = {"timestamps": timestamps, **outputs, "labels": self._hearing.labels}
        if self._detector is not None:
            fields["detections"] = self._detector.detections(timestamps, made.window_size_s, made.duration_s)
        if self._hearing.n_classes and "scores" not in outputs:
            is_named = bool(self._hearing.labels)
            found = occurring(self._label, outputs.get("top_classes"), fields.get("detections"))
            fields["labels"], fields["label_numbers"] = found if is_named else ((), ())
        return fields


def _count_not_finite(rows: npt.NDArray[Any]) -> int:
    """How many rows hold something that is no finite number."""
    if rows.dtype.kind != "f" or np.isfinite(rows.sum(dtype=np.float64)):  # which one that is not would spoil
        return 0
    return int(np.count_nonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)))


def _half(array: npt.NDArray[Any], kind: str) -> npt.NDArray[np.float16]:
    largest = float(np.abs(array).max(initial=0))
    if largest > LARGEST_FLOAT16:
        raise ValueError(f"{kind} has values up to {largest:g}, and float16 ends at {LARGEST_FLOAT16:g}: use float32")
    return array.astype(np.float16)
