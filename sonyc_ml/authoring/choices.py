"""What the maker of a bundle chooses, and how its manifest says it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, Self

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.bundles.sections import Detections, Head, Keep, Location
from sonyc_ml.bundles.waveform import State


@dataclass(frozen=True, slots=True, kw_only=True)
class MakerChoices:
    """The keywords of :func:`~sonyc_ml.authoring.make.make_bundle`. All are optional.

    Attributes
    ----------
    version, description, licence : str
        For the manifest.
    input_kind : {"pickled", "log_mel", "pcm"}, optional
        What the network reads. Where not given: ``pickled`` if there is a ``NAME.pkl``, else what is recognised by its
        input; see :func:`sonyc_ml.model.loading.recognised_kind`.
    outputs : mapping of str to int or str, optional
        Which output of the network is what; see :class:`~sonyc_ml.model.Model`. Where the embedding is a tensor inside
        the network, that is written anew as ``NAME-embedding.tflite``, and the bundle is made of that; see
        :func:`sonyc_ml.authoring.graph.cut_file`.
    stages : tuple of str
        File names of networks that follow the first in a chain: each reads the one output of the one before.
    head : str
        File name of the network that reads the embedding.
    head_embeddings : int, optional
        How many embeddings it reads, those of the windows before among them; one where not given.
    location : str
        File name of a network that says which classes are expected at a place and in a week.
    location_threshold : float, optional
        From which of its values on; 0.03 where not given.
    labels : tuple of str
        Of the scores.
    constants : mapping of str to value, optional
        What further inputs of the network hold, by name or number.
    state : collection of (int or str, int or str)
        Inputs of the network, each with the output that is fed back to it, by name or number; the windows then follow
        each other without a gap where no `hop_size` is given.
    activation : {"", "sigmoid", "softmax", "reconstruction_error", "none"}
        What makes scores of the network's numbers; the third is of an autoencoder, whose output is named as scores.
    sensitivity : float, optional
        Of a sigmoid; see :func:`sonyc_ml.model.activation.activated`.
    tolerances : mapping of str to float, optional
        ``features_db``, ``cosine``, ``scores``; see :class:`~sonyc_ml.bundles.manifest.Golden`. Where not given, wide
        enough for the runtime's two kinds of kernels.
    detections, keep : mapping, optional
        Which scores become detections, and what outputs keep of the numbers, by the names of
        :class:`~sonyc_ml.outputs.rules.DetectionRules` and :class:`~sonyc_ml.outputs.rules.Kept`.
    parameters : mapping
        Of the extractor: those of ``LogMel`` or ``PCMWindows``.
    """

    version: str = "1.0.0"
    description: str = ""
    licence: str = ""
    input_kind: str | None = None
    outputs: Mapping[str, int | str] | None = None
    stages: tuple[str, ...] = ()
    head: str = ""
    head_embeddings: int | None = None
    location: str = ""
    location_threshold: float | None = None
    labels: tuple[str, ...] = ()
    constants: Mapping[str, Any] | None = None
    state: Collection[tuple[int | str, int | str]] = ()
    activation: str = ""
    sensitivity: float | None = None
    tolerances: Mapping[str, float] | None = None
    detections: Mapping[str, Any] | None = None
    keep: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> Self:
        """The choices among keywords; every other keyword is a parameter of the extractor."""
        own = {item.name for item in fields(cls)} - {"parameters"}
        others = {name: value for name, value in keywords.items() if name not in own}
        return cls(**{name: keywords[name] for name in own & set(keywords)}, parameters=others)

    def in_manifest(self) -> dict[str, Any]:
        """What a manifest says of them, by its keys; the activation is not yet known where none was chosen."""
        as_they_are = ("version", "description", "licence", "outputs", "stages", "labels", "sensitivity")
        return {name: getattr(self, name) for name in as_they_are} | {
            "head": Head(self.head, self.head_embeddings) if self.head else None,
            "location": self._location(),
            "constants": dict(self.constants or {}),
            "state": tuple(State(source, target) for source, target in self.state),
            "activation": self.activation or "none",
            "detections": Detections(**self.detections) if self.detections else None,
            "keep": Keep(**self.keep) if self.keep else None,
        }

    def _location(self) -> Location | None:
        if not self.location:
            return None
        return Location(self.location, *([] if self.location_threshold is None else [self.location_threshold]))
