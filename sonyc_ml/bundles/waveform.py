"""The section of a manifest that says how networks turn sound into tracks."""

from __future__ import annotations

import math
import re

from sonyc_ml.base.records import dataclass
from sonyc_ml.bundles.bounds import MAX_SAMPLES, MAX_SECONDS

KIND = "waveform"  # of a manifest's input
REMAINDER = "remainder"  # the track of what no other holds; made on request, never by a network
TRACK = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
OWN_CLASSES = "sonyc_ml.model.waveform."  # modules of the package: their classes are not foreign code
WINDOWS = ("hann", "triangle", "rectangle")
NORMALISATIONS = ("none", "mean_std")
MAX_TRACKS, MAX_STAGES = 64, 16


@dataclass(frozen=True, slots=True)
class State:
    """A state that a network hands to its own next run.

    Attributes
    ----------
    in_, out : int or str
        The input that reads it and the output that writes it, by number or name.
    """

    in_: int | str
    out: int | str


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the networks.

    Attributes
    ----------
    network : str
        File name; among the files of the manifest.
    state : tuple of State
        Of a recurrent network whose states are tensors.
    """

    network: str
    state: tuple[State, ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """Networks that read one block after another and carry their state from block to block.

    Attributes
    ----------
    block_length, hop_length : int
        Length of a block, and distance between two (in samples at the model's rate). What blocks that overlap give is
        added.
    latency_length : int
        How much later than its input a block's output is (in samples), beside what the blocks themselves take; it is
        removed.
    """

    block_length: int
    hop_length: int
    latency_length: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.hop_length <= self.block_length <= MAX_SAMPLES:
            raise ValueError(
                f"hop_length must be from 1 to block_length, and that at most {MAX_SAMPLES:,}; they are "
                f"{self.hop_length} and {self.block_length}"
            )
        if not 0 <= self.latency_length <= MAX_SAMPLES:
            raise ValueError(f"latency_length must be from 0 to {MAX_SAMPLES:,}, not {self.latency_length}")


@dataclass(frozen=True, slots=True)
class Overlap:
    """A network without a state, which reads chunks that overlap; what they give is faded into one another.

    Attributes
    ----------
    chunk_s, hop_s : float
        Length of a chunk, and distance between two (in seconds).
    window : {"hann", "triangle", "rectangle"}
        How much each sample of a chunk counts; the sum is divided by the sum of these weights.
    normalise : {"none", "mean_std"}
        Whether each chunk is brought to a mean of 0 and a standard deviation of 1 for the network, and what the network
        gives is brought back.
    """

    chunk_s: float
    hop_s: float
    window: str = "hann"
    normalise: str = "none"

    def __post_init__(self) -> None:
        if not 0 < self.hop_s <= self.chunk_s <= MAX_SECONDS:  # neither is NaN then
            raise ValueError(
                f"hop_s must be above 0 and at most chunk_s, and that at most {MAX_SECONDS:g} s; they are "
                f"{self.hop_s!r} and {self.chunk_s!r}"
            )
        for name, known in (("window", WINDOWS), ("normalise", NORMALISATIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class Waveform:
    """How networks turn sound into tracks.

    Attributes
    ----------
    tracks : tuple of str
        Their names, in the order in which the networks give them; they become parts of file names.
    stages : tuple of Stage
        The networks, in the order in which a block passes them.
    res_type : str
        The resampler from the recording's rate to the model's and back; see :data:`sonyc_ml.features.RES_TYPES`.
    stream : Stream or None
    overlap : Overlap or None
        How sound is cut for the networks: one of the two.
    class_ : str
        ``module:name`` of the class that takes a block through the networks, with what lies between them; one network
        behind another where empty. See :class:`sonyc_ml.model.waveform.blocks.BlockProcessor`.
    tolerance : float
        How far the golden vector's tracks may be off on another machine (full scale is 1).
    """

    tracks: tuple[str, ...]
    stages: tuple[Stage, ...]
    res_type: str
    stream: Stream | None = None
    overlap: Overlap | None = None
    class_: str = ""
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if (self.stream is None) == (self.overlap is None):
            raise ValueError("there must be either stream or overlap: how sound is cut for the networks")
        for name, most in (("tracks", MAX_TRACKS), ("stages", MAX_STAGES)):
            if not 1 <= len(getattr(self, name)) <= most:
                raise ValueError(f"{name} must be 1 to {most}, not {len(getattr(self, name))}")
        for track in self.tracks:
            if not TRACK.fullmatch(track) or track == REMAINDER:
                raise ValueError(
                    f"tracks: {track!r} cannot be the name of one: up to 32 of a-z, 0-9, - and _, and not {REMAINDER}"
                )
        if len({*self.tracks}) < len(self.tracks):
            raise ValueError("tracks must have different names")
        if self.class_ and not CLASS.fullmatch(self.class_):
            raise ValueError(f"class must be like 'my_library.blocks:MyBlocks', not {self.class_!r}")
        if self.overlap is not None and any(stage.state for stage in self.stages):
            raise ValueError("a network with a state reads a stream, never chunks that overlap: give stream")
        if not 0 <= self.tolerance <= 1 or not math.isfinite(self.tolerance):
            raise ValueError(f"tolerance must be from 0 to 1, not {self.tolerance}")

    @property
    def foreign_class(self) -> str:
        """The class, where it is not this package's own: code that somebody has to accept."""
        return "" if self.class_.startswith(OWN_CLASSES) else self.class_
