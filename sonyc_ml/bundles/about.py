"""What a manifest says of a bundle that changes none of its numbers: its card, and how it was quantised."""

from __future__ import annotations

import math
import re

from sonyc_ml.base.records import dataclass

DOMAINS = ("music", "speech", "environmental", "other")
EFFECT_TYPES = ("waveform-to-labels", "waveform-to-waveform")
MAX_CARD_SAMPLE_RATE = 396_000  # Hz
MAX_SHORT, MAX_LONG = 60, 280  # characters
MAX_TAGS, MAX_TAG = 5, 15  # how many, and characters of each
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What Audacity's model manager shows of a model, with its limits; every key may be left out.

    Attributes
    ----------
    sample_rate : int or None
        In Hz, 0 to 396,000; that of the manifest where not given.
    domains : tuple of str
        Of ``music``, ``speech``, ``environmental``, ``other``, in capitals or not.
    domain_tags : tuple of str
        An older name of `domains`, taken and not kept.
    short_description, long_description : str
        At most 60 and 280 characters.
    tags : tuple of str
        At most 5, of at most 15 characters each.
    labels : tuple of str
        Of the scores, or of the tracks; those of the manifest where not given.
    effect_type : str
        ``waveform-to-labels`` or ``waveform-to-waveform``.
    multichannel : bool
        Whether the network reads stereo as it is.
    """

    sample_rate: int | None = None
    domains: tuple[str, ...] = ()
    domain_tags: tuple[str, ...] = ()
    short_description: str = ""
    long_description: str = ""
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    effect_type: str = ""
    multichannel: bool = False

    def __post_init__(self) -> None:
        if self.sample_rate is not None and not 0 <= self.sample_rate <= MAX_CARD_SAMPLE_RATE:
            raise ValueError(f"sample_rate must be from 0 to {MAX_CARD_SAMPLE_RATE}, not {self.sample_rate}")
        self._take_domains()
        for key, largest in (("short_description", MAX_SHORT), ("long_description", MAX_LONG)):
            if len(getattr(self, key)) > largest:
                raise ValueError(f"{key} has {len(getattr(self, key))} characters; {largest} is the most")
        if len(self.tags) > MAX_TAGS:
            raise ValueError(f"tags has {len(self.tags)} entries; {MAX_TAGS} is the most")
        for tag in self.tags:
            if not 0 < len(tag) <= MAX_TAG:
                raise ValueError(f"tags must each have 1 to {MAX_TAG} characters, and {tag!r} has {len(tag)}")
        if self.effect_type not in ("", *EFFECT_TYPES):
            raise ValueError(f"effect_type must be one of {', '.join(EFFECT_TYPES)}, not {self.effect_type!r}")

    def _take_domains(self) -> None:
        if self.domains and self.domain_tags and self.domains != self.domain_tags:
            raise ValueError("domains and domain_tags are two names of one thing, and differ here: give one of them")
        domains = tuple(domain.lower() for domain in self.domains or self.domain_tags)
        for domain in domains:
            if domain not in DOMAINS:
                raise ValueError(f"domains must be of {', '.join(DOMAINS)}, not {domain!r}")
        object.__setattr__(self, "domains", domains)
        object.__setattr__(self, "domain_tags", ())

    def check_fits(self, sample_rate: int, labels: tuple[str, ...]) -> None:
        """Refuse what contradicts the manifest that it stands in.

        Raises
        ------
        ValueError
        """
        if sample_rate and self.sample_rate not in (None, sample_rate):
            raise ValueError(f"metadata.sample_rate is {self.sample_rate}, and the manifest's own is {sample_rate}")
        if self.labels and labels and self.labels != labels:
            raise ValueError(
                f"metadata.labels and the manifest's own labels differ ({len(self.labels)} and {len(labels)} of them): "
                "leave them out of metadata"
            )


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How the network came of one of float32, and what it lost by that, on recordings that ranges were not measured on.

    Attributes
    ----------
    recipe, tool : str
        What was done, and by what.
    source, source_sha256 : str
        Name and version of the float32 bundle, and SHA-256 of its network.
    source_bytes : int
        Size of that network.
    n_recordings, n_windows : int
        That ranges were measured on.
    seed : int
        That chose them.
    n_held_out : int
        Recordings that the rest is of.
    cosine, lowest_cosine : float or None
        Between the outputs before and after, over all windows; their mean, and the lowest.
    agreement : float or None
        Share of windows whose top class is the same.
    n_of_classes : int
        Recordings in folders that are named as classes.
    accuracy_before, accuracy_after : float or None
        Share of those whose class is the right one.
    """

    recipe: str
    tool: str
    source: str
    source_sha256: str
    source_bytes: int
    n_recordings: int
    n_windows: int
    seed: int
    n_held_out: int
    cosine: float | None = None
    lowest_cosine: float | None = None
    agreement: float | None = None
    n_of_classes: int = 0
    accuracy_before: float | None = None
    accuracy_after: float | None = None

    def __post_init__(self) -> None:
        if not SHA256.fullmatch(self.source_sha256):
            raise ValueError(f"source_sha256 must be a SHA-256 in hexadecimal, not {self.source_sha256!r}")
        for key in ("cosine", "lowest_cosine", "agreement", "accuracy_before", "accuracy_after"):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and -1 <= value <= 1):
                raise ValueError(f"{key} must be a number from -1 to 1, not {value}")
