"""Which scores become detections, and what of its numbers an output keeps; without numpy, for whoever configures it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from sonyc_ml.base.records import dataclass, field

MAX_RECORDED = 20  # classes that a record names one by one; of more it has how many, and a digest
N_WEEKS = 48  # of a year, as BirdNET's location model counts them
KEPT_SCORES = ("all", "top-k", "none")
DTYPES = ("float32", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRules:
    """Which windows count, and what becomes of those that lie close together.

    Attributes
    ----------
    threshold : float
        A window counts where its score is no lower, in [0, 1].
    thresholds : mapping of str to float
        Of classes that have one of their own.
    classes : tuple of str
        Those that are detected; all where empty.
    place : tuple of float or None
        Latitude and longitude (in degrees): only classes that the bundle's location model expects there are detected.
    week : int or None
        When it expects them: from 1 to 48, of which a year has as many. None for the week in which a recording begins;
        where that is not known, a class counts that is expected in any.
    top_k : int > 0 or None
        A class counts only in windows where it is among so many with the highest scores, of those that are detected.
    merge_s : float >= 0 or None
        Detections of a class no further apart become one (in seconds); those that touch always do. None, or False,
        which becomes None: nothing becomes one, and each window that counts is a detection as long as the window.
    min_duration_s : float >= 0
        What is shorter is left out (in seconds), after merging.
    cool_down_s : float >= 0
        What begins less than this (in seconds) after the end of a detection of the same class is left out, last of all.

    Raises
    ------
    ValueError
        A value is out of its range.
    """

    threshold: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    top_k: int | None = None
    place: tuple[float, ...] | None = None
    week: int | None = None
    merge_s: float | bool | None = 0.0
    min_duration_s: float = 0.0
    cool_down_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in {"": self.threshold, **self.thresholds}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"a threshold must be in [0, 1]: {name and f'that of {name} '}is {value:g}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")
        self._check_place()
        if self.merge_s is False:
            object.__setattr__(self, "merge_s", None)
        elif self.merge_s is True:
            raise ValueError("merge_s must be a number of seconds, or false for no merging, not true")
        for name in ("merge_s", "min_duration_s", "cool_down_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number of seconds that is not below 0, and is {value:g}")

    def _check_place(self) -> None:
        if self.place is not None:
            object.__setattr__(self, "place", tuple(self.place))
            sizes = [abs(value) for value in self.place]
            if len(sizes) != 2 or not (sizes[0] <= 90 and sizes[1] <= 180):
                raise ValueError(f"place must be a latitude and a longitude in degrees, not {list(self.place)}")
        if self.week is not None and not 1 <= self.week <= N_WEEKS:
            raise ValueError(f"week must be from 1 to {N_WEEKS}, of which a year has as many, not {self.week}")
        if self.week is not None and self.place is None:
            raise ValueError("week says when, and place where: give both, or place alone")

    @property
    def gap_s(self) -> float | None:
        """The largest gap that is merged (in seconds); None where nothing is."""
        return None if self.merge_s is None else float(self.merge_s)

    def recorded(self) -> dict[str, Any]:
        """What an output's provenance keeps of them: what is not as it comes, and the threshold always."""
        changed: dict[str, Any] = {"threshold": self.threshold}
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if entry.name != "threshold" and value not in (entry.default, {}, ()):
                changed[entry.name] = value
        for name in ("thresholds", "classes"):
            if len(changed.get(name, ())) > MAX_RECORDED:
                text = json.dumps(changed[name], sort_keys=True).encode()
                changed[name] = f"{len(changed[name])} classes, SHA-256 {hashlib.sha256(text).hexdigest()}"
        return changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What of its numbers an output keeps.

    Attributes
    ----------
    scores : {"all", "top-k", "none"}
        Of every window the scores of all classes, the highest with their classes, or no scores.
    top_k : int > 0
        How many are the highest.
    score_dtype, embedding_dtype : {"float32", "float16"}
        Half the size at three digits; larger numbers than 65504 have no float16.

    Raises
    ------
    ValueError
        A value is none of these.
    """

    scores: str = "all"
    top_k: int = 5
    score_dtype: str = "float32"
    embedding_dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, known in (("scores", KEPT_SCORES), ("score_dtype", DTYPES), ("embedding_dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}, not {getattr(self, name)!r}")
        if self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")

    def recorded(self) -> dict[str, Any]:
        """What an output's provenance keeps of it: what is not as it comes."""
        changed = {
            entry.name: getattr(self, entry.name)
            for entry in dataclasses.fields(self)
            if getattr(self, entry.name) != entry.default
        }
        if self.scores != "top-k":
            changed.pop("top_k", None)
        elif "top_k" not in changed:
            changed["top_k"] = self.top_k
        return changed
