"""What becomes of a model's scores in an output: detections, and all of them, the highest, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass, replace
from sonyc_ml.bundles.manifest import Manifest
from sonyc_ml.outputs.detection_arrays import occurring
from sonyc_ml.outputs.detections import Detection, Detector, check_classes, highest_of, label_lookup
from sonyc_ml.outputs.output import NOT_FINITE, Provenance
from sonyc_ml.outputs.rules import DetectionRules, Kept

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.result import SoundLevels
    from sonyc_ml.sound.levels.settings import LevelSettings
    from sonyc_ml.sound.recording import Recording

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
    """

    rules: DetectionRules | None
    kept: Kept
    labels: tuple[str, ...]
    n_classes: int

    @property
    def recorded(self) -> dict[str, Any]:
        """What the outputs' provenance says of it; None for what is as it comes."""
        return {"detections": self.rules and self.rules.recorded(), "keep": self.kept.recorded() or None}

    def begin(self, scratch: Path | None) -> Heard:
        """Begin a recording.

        Parameters
        ----------
        scratch : Path or None
            A folder for what is too much for memory.
        """
        return Heard(self, scratch)

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
        with Detector(replace(self.rules or DetectionRules(), **asked), names) as detector:
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
    manifest: Manifest | None,
    labels: tuple[str, ...],
    n_classes: int,
    detections: Mapping[str, Any] | None,
    keep: Mapping[str, Any] | None,
) -> Hearing:
    """What a bundle's outputs have of the scores.

    Parameters
    ----------
    manifest : Manifest or None
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
    rules = _make_rules(manifest, labels, n_classes, dict(detections or {}))
    said = manifest.keep.given() if manifest and manifest.keep else {}
    return Hearing(rules=rules, kept=Kept(**{**said, **(keep or {})}), labels=labels, n_classes=n_classes)


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
    """

    def __init__(self, hearing: Hearing, scratch: Path | None) -> None:
        self._hearing, self._detector = hearing, None
        self._n_not_finite = 0
        self._label = label_lookup(hearing.labels)
        if hearing.rules is not None:
            names = tuple(map(self._label, range(hearing.n_classes)))
            self._detector = Detector(hearing.rules, names, scratch)

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
            self._detector.add(scores)
        if scores is not None and kept.scores != "all":
            outputs = {kind: array for kind, array in outputs.items() if kind != "scores"}
            if kept.scores == "top-k":
                outputs["top_classes"], outputs["top_scores"] = highest_of(scores, kept.top_k)
        dtypes = {"embedding": kept.embedding_dtype, "scores": kept.score_dtype, "top_scores": kept.score_dtype}
        return {kind: _half(array, kind) if dtypes.get(kind) == "float16" else array for kind, array in outputs.items()}

    def noted(self, made: Provenance) -> Provenance:
        """The provenance, with a note on windows for which the network gave something that is no number."""
        if not self._n_not_finite:
            return made
        note = f"the network gave {NOT_FINITE} for {self._n_not_finite:,} windows"
        return replace(made, note="; ".join(filter(None, (made.note, note))))

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
