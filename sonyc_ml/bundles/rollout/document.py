"""``rollout.json``: which nodes take which version of a bundle; signed, numbered, and valid for a while only."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from dataclasses import asdict

from sonyc_ml.base.human import seconds_of
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.bundles.integrity import MAX_FILE_SIZE
from sonyc_ml.bundles.manifest import SHA256, VERSION, is_file_name, parse_strictly, version_numbers

FILE_NAME = "rollout.json"
SIGNATURE_NAME = f"{FILE_NAME}.sig"
NAMESPACE = "sonyc-ml-rollout"  # so that no signature over a manifest is one over a rollout, nor the other way round
MAX_ROLLOUT_BYTES, MAX_SIGNATURE_BYTES = 1 << 16, 1 << 12
MAX_FILES, MAX_BUNDLE_BYTES = 100, 1 << 31
MAX_SEQUENCE = 1 << 53


@dataclass(frozen=True, slots=True)
class Target:
    """A version of a bundle, by the digest of its manifest, which holds those of all its other files.

    Attributes
    ----------
    version : str
    manifest : str
        SHA-256 of ``NAME.json``.
    sizes : dict of str to int
        Bytes of each file: of the manifest, of its signature, and of all that the manifest lists.
    """

    version: str
    manifest: str
    sizes: dict[str, int]

    def __post_init__(self) -> None:
        if not VERSION.fullmatch(self.version):
            raise ValueError(f"version must be like '1.0.0', not {self.version!r}")
        if not SHA256.fullmatch(self.manifest):
            raise ValueError(f"manifest must be a SHA-256 in hexadecimal, not {self.manifest!r}")
        if len(self.sizes) > MAX_FILES:
            raise ValueError(f"sizes has {len(self.sizes)} files, and a bundle has at most {MAX_FILES}")
        for name, size in self.sizes.items():
            if not is_file_name(name):
                raise ValueError(f"sizes.{name} must be a file in the bundle's own folder")
            if not 0 <= size <= MAX_FILE_SIZE:
                raise ValueError(f"sizes.{name} is {size:,} bytes, which no file of a bundle has")
        if self.n_bytes > MAX_BUNDLE_BYTES:
            raise ValueError(f"sizes add up to {self.n_bytes:,} bytes, which no bundle of a node has")

    @property
    def n_bytes(self) -> int:
        """Of all files together."""
        return sum(self.sizes.values())

    @property
    def folder(self) -> str:
        """Where its files lie, below the source: two bundles of one version never share a folder."""
        return f"{self.version}-{self.manifest[:12]}"

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The version for comparing."""
        return version_numbers(self.version)


@dataclass(frozen=True, slots=True)
class Rollout:
    """What ``rollout.json`` says.

    Attributes
    ----------
    schema_version : int
        Of this description; 1.
    name : str
        Of the bundle: ``NAME`` of ``NAME.tflite``.
    sequence : int
        Grows from one rollout to the next; a node takes none with a smaller number than it has seen.
    made, expires : str
        When it was made, and from when on no node acts on it, in ISO 8601.
    target : Target
        The version that is rolled out.
    nodes : tuple of str
        Patterns for the names of nodes that take it, as in ``pole_*``; empty for all nodes.
    share : float
        The share of those nodes that take it, from 0 to 1.
    not_before, not_after : str
        When nodes may switch to it, in ISO 8601; empty for any time.
    otherwise : Target or None
        What the other nodes run; None where they stay as they are.
    back : bool
        Whether nodes may go back to an older version by this rollout.
    """

    schema_version: int
    name: str
    sequence: int
    made: str
    expires: str
    target: Target
    nodes: tuple[str, ...] = ()
    share: float = 1.0
    not_before: str = ""
    not_after: str = ""
    otherwise: Target | None = field(default=None)
    back: bool = False

    def __post_init__(self) -> None:
        if self.schema_version != 1:
            raise ValueError(f"schema_version must be 1, not {self.schema_version}; a newer sonyc-ml may know it")
        if not is_file_name(self.name):
            raise ValueError(f"name must be that of a bundle, not {self.name!r}")
        if not 0 < self.sequence < MAX_SEQUENCE:
            raise ValueError(f"sequence must be a number above 0, not {self.sequence}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must be from 0 to 1, not {self.share}")
        for key in ("made", "expires", "not_before", "not_after"):
            _check_time(key, getattr(self, key), may_be_empty=key.startswith("not"))
        if seconds_of(self.expires) <= seconds_of(self.made):
            raise ValueError(f"expires must be later than made, {self.made}, not {self.expires}")
        for target in filter(None, (self.target, self.otherwise)):
            if not {f"{self.name}.json", f"{self.name}.json.sig", f"{self.name}.tflite"} <= target.sizes.keys():
                raise ValueError(f"sizes lacks a file of {self.name}: its manifest, its signature or its network")

    def chooses(self, node: str) -> bool:
        """Whether a node takes the new version: by its name, and by the share of names that do.

        A node that takes part at a small share takes part at every larger one; of another version, other nodes do.
        """
        if self.nodes and not any(fnmatch.fnmatchcase(node, pattern) for pattern in self.nodes):
            return False
        content = f"{self.name} {self.target.version} {node}".encode()
        place = int.from_bytes(hashlib.sha256(content).digest()[:8]) / 2**64
        return place < self.share

    def waits(self, now_s: float) -> str:
        """Why nodes may not switch to the new version now; empty where they may."""
        if self.not_before and now_s < seconds_of(self.not_before):
            return f"nodes switch from {self.not_before} on"
        if self.not_after and now_s >= seconds_of(self.not_after):
            return f"nodes have switched until {self.not_after}, and do not any more"
        return ""

    def text(self) -> bytes:
        """The rollout as its file holds it; these bytes are signed."""
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def parse_rollout(content: bytes, source: str) -> Rollout:
    """Read a rollout.

    Raises
    ------
    BundleError
        Says which key, and what it takes.
    """
    return parse_strictly(Rollout, content, source)


def _check_time(key: str, text: str, *, may_be_empty: bool) -> None:
    if not text and may_be_empty:
        return
    try:
        seconds_of(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{key} must be a time in ISO 8601, not {text!r}") from error
