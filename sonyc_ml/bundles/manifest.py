"""``NAME.json``: what a bundle is, which files belong to it, and how to prove that it computes what it should."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.base.strict import build
from sonyc_ml.bundles.about import Metadata, Quantisation
from sonyc_ml.bundles.bounds import MAX_SAMPLE_RATE, MAX_SECONDS, MIN_HOP_S
from sonyc_ml.bundles.sections import (
    Detections,
    Golden,
    Head,
    Input,
    Keep,
    Location,
    Section,
    check_activation,
    check_constants,
)
from sonyc_ml.bundles.waveform import CLASS, KIND, State, Waveform
from sonyc_ml.errors import BundleError

T = TypeVar("T")

SCHEMA = "https://json-schema.org/draft/2020-12/schema"
SHA256 = re.compile(r"[0-9a-f]{64}")
VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}")
SPARSE = ("head", "metadata", "quantisation")  # sections whose empty keys are left out


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bundle's manifest; the file has the same keys, ``class_`` without its underscore.

    Attributes
    ----------
    schema_version : int
        Of this description; 1.
    name, version : str
        The bundle's; the version is ``MAJOR.MINOR.PATCH``.
    description, licence : str
    sample_rate : int
        At which windows are cut (in Hz).
    window_size_s, hop_size_s : float
        Length of a window, default distance between two (in seconds).
    input : Input
    stages : tuple of str
        Networks that follow the first, in their order, by their files: each reads the one output of the one before.
    outputs : dict
        Which output of the network, or of the last stage, is the ``embedding``, which the ``scores``, by number or
        name.
    constants : dict
        What inputs of the network hold that do not read the features: a number or a list of numbers, by the input's
        name or number.
    state : tuple of State
        Which inputs hold what an output gave for the window before; zeros where a recording begins.
    activation : {"", "sigmoid", "softmax", "reconstruction_error", "none"}
        What makes scores of what the network, or the head, gives as scores; see
        :func:`sonyc_ml.model.activation.activated`; with ``none``, as with nothing, they are
        taken as they are.
    sensitivity : float or None
        Of a sigmoid, from 0.5 to 1.5; see :func:`sonyc_ml.model.activation.activated`.
    labels : tuple of str
        Of the scores.
    head : Head or None
    location : Location or None
        Which classes are expected where, and when.
    class_ : str
        ``module:name`` of a model class of the user's own; its parameters are those of its dataclass.
    parameters : dict
    files : dict
        SHA-256 of every file, by its name in the manifest's folder.
    pickle : dict
        Versions that made the pickle.
    golden : Golden or None
    waveform : Waveform or None
        Of networks that turn sound into tracks.
    detections : Detections or None
        Which scores become detections.
    keep : Keep or None
        What outputs keep of the numbers.
    metadata : Metadata or None
        What Audacity's model manager shows.
    quantisation : Quantisation or None
        How the network came of one of float32.
    """

    schema_version: int
    name: str
    version: str
    sample_rate: int
    window_size_s: float
    hop_size_s: float
    input: Input
    files: dict[str, str]
    description: str = ""
    licence: str = ""
    stages: tuple[str, ...] = ()
    outputs: dict[str, int | str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    state: tuple[State, ...] = ()
    activation: str = ""
    sensitivity: float | None = None
    labels: tuple[str, ...] = ()
    head: Head | None = None
    location: Location | None = None
    class_: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    pickle: dict[str, str] = field(default_factory=dict)
    golden: Golden | None = None
    waveform: Waveform | None = None
    detections: Detections | None = None
    keep: Keep | None = None
    metadata: Metadata | None = None
    quantisation: Quantisation | None = None

    def __post_init__(self) -> None:
        if self.schema_version != 1:
            raise ValueError(f"schema_version must be 1, not {self.schema_version}; a newer sonyc-ml may know it")
        if not self.name:
            raise ValueError("name must not be empty: outputs name their bundle by it")
        if not VERSION.fullmatch(self.version):
            raise ValueError(f"version must be like '1.0.0', not {self.version!r}")
        self._check_windows()
        check_activation(self.activation, self.sensitivity)
        check_constants(self.constants)
        for key in ("detections", "keep"):
            section = getattr(self, key)
            if section is not None and not section.given():  # it says nothing, and is not written
                object.__setattr__(self, key, None)
        if self.class_ and not CLASS.fullmatch(self.class_):
            raise ValueError(f"class must be like 'my_library.models:MyModel', not {self.class_!r}")
        self._check_files()
        (self.metadata or Metadata()).check_fits(self.sample_rate, self.labels)
        self._check_waveform()

    def _check_files(self) -> None:
        for name, digest in self.files.items():
            if not is_file_name(name):
                raise ValueError(f"files.{name} must be a file in the manifest's own folder")
            if not SHA256.fullmatch(digest):
                raise ValueError(f"files.{name} must be a SHA-256 in hexadecimal, not {digest!r}")
        head_file, golden_file = self.head.network if self.head else "", self.golden.file if self.golden else ""
        stages = [("waveform.stages", stage.network) for stage in self.waveform.stages] if self.waveform else []
        stages += [("stages", name) for name in self.stages]
        stages += [("location.network", self.location.network)] if self.location else []
        for what, name in (("head.network", head_file), ("golden.file", golden_file), *stages):
            if name and name not in self.files:
                raise ValueError(f"{what} names {name!r}, which is not among files")

    def _check_waveform(self) -> None:
        if (self.input.kind == KIND) != (self.waveform is not None):
            raise ValueError(f"input.kind {KIND} and the section waveform go together: one of them is missing")
        if self.waveform is not None and not self.sample_rate:
            raise ValueError("sample_rate must be that of the networks, which turn sound into tracks, and not 0")

    def _check_windows(self) -> None:
        for key in ("sample_rate", "window_size_s", "hop_size_s"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{key} must be a number of 0 or more, not {getattr(self, key)}")
        for key, largest in (
            ("sample_rate", MAX_SAMPLE_RATE),
            ("window_size_s", MAX_SECONDS),
            ("hop_size_s", 24 * MAX_SECONDS),
        ):
            if getattr(self, key) > largest:
                raise ValueError(f"{key} must be at most {largest:g}")
        if 0 < self.hop_size_s < MIN_HOP_S:
            raise ValueError(f"hop_size_s must be at least {MIN_HOP_S:g}, not {self.hop_size_s!r}")

    @property
    def foreign_class(self) -> str:
        """The class that it names, where that is code of somebody else's; else empty."""
        return self.class_ or (self.waveform.foreign_class if self.waveform else "")

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The version for comparing."""
        return version_numbers(self.version)

    def text(self) -> str:
        """The manifest as its file holds it."""
        table = asdict(self, dict_factory=_without_underscores)
        if self.waveform is not None:  # most of its keys are left out, where most manifests have all of a section's
            table["waveform"] = _without_empty(table["waveform"])
        held = {key: getattr(self, key) for key in ("detections", "keep")}
        table |= {key: section.given() for key, section in held.items() if isinstance(section, Section)}
        for key in SPARSE:
            table[key] = {name: value for name, value in (table[key] or {}).items() if _says_something(value)}
        return json.dumps({key: value for key, value in table.items() if _says_something(value)}, indent=2) + "\n"


def parse_manifest(content: bytes, source: str) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    content : bytes
        Of ``NAME.json``.
    source : str
        Its path, for messages.

    Raises
    ------
    BundleError
        Says which key, and what it takes.
    """
    return parse_strictly(Manifest, content, source)


def parse_strictly(cls: type[T], content: bytes, source: str) -> T:
    """Read a dataclass of JSON that came from anywhere; a BundleError says which key is wrong, and what it takes."""
    try:
        table = json.loads(content, parse_constant=_refuse_constant, object_pairs_hook=_without_doubles)
        json.dumps(table, ensure_ascii=False).encode()  # half a surrogate pair cannot be shown, or name a file
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{source} is not JSON: {_printable(error)}") from error
    if not isinstance(table, Mapping):
        raise BundleError(f"{source} must hold a JSON object")
    try:
        return build(cls, table)
    except ValueError as error:
        raise BundleError(f"{source}: {_printable(error)}") from error


def is_file_name(name: str) -> bool:
    """Whether a text names a file in a folder, and nothing outside it or hidden in it."""
    return bool(name) and "/" not in name and not name.startswith(".") and name.isprintable()


def version_numbers(version: str) -> tuple[int, ...]:
    """A version for comparing: 1.10.0 is newer than 1.9.0."""
    return tuple(int(number) for number in version.split("."))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once: which of two counts would be a matter of who reads it."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return table


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _printable(error: Exception) -> str:
    """A message in one line; keys and values in it are whatever somebody wrote into a file."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(error))


def _without_underscores(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a section by their keys: a word of Python has an underscore as a field."""
    return {key.rstrip("_"): value for key, value in pairs}


def _without_empty(table: Any) -> Any:
    """A table and those in it by the keys of the file, without what says nothing."""
    if isinstance(table, dict):
        return {key.rstrip("_"): _without_empty(value) for key, value in table.items() if _says_something(value)}
    return [_without_empty(value) for value in table] if isinstance(table, (list, tuple)) else table


def _says_something(value: Any) -> bool:
    return value not in (None, "", (), {})
