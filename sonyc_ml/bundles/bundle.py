"""A network and the extractor of the same name: find them, read them, load them.

This is the only place that unpickles.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import platform
from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sonyc_ml.base.records import dataclass, field, replace
from sonyc_ml.base.strict import build
from sonyc_ml.bundles.integrity import check_signature, owner_ids, quoted, read_guarded, read_plain
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.bundles.own_extractor import is_own_extractor, own_extractor_of_today
from sonyc_ml.errors import BundleError, BundleIntegrityError, BundleMismatchError, MissingBundleError

# The last line of an exported pickle, behind the pickle's own end: readable without running anything.
DESCRIPTION_KEY = "sonyc_ml_extractor"


@dataclass(frozen=True, slots=True)
class Description:
    """What an exported extractor says of itself, in the last line of its pickle.

    Attributes
    ----------
    function : str
        What was exported, ``module:name``.
    parameters : dict
        The keywords it was exported with.
    python, dill, numpy : str
        Versions that made the pickle.
    any_python : bool
        Whether it holds source text, which every Python reads, or bytecode, which only the same minor version does.
    requires : tuple of str
        Modules that it imports.
    """

    function: str
    parameters: dict[str, Any]
    python: str
    dill: str
    numpy: str
    any_python: bool
    requires: tuple[str, ...]

    def line(self) -> bytes:
        """The description as the last line of a pickle."""
        content = {name: getattr(self, name) for name in self.__slots__}
        return b"\n" + json.dumps({DESCRIPTION_KEY: content}, sort_keys=True).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of a bundle, read once, and compared with its manifest where it has one.

    Attributes
    ----------
    name : str
        ``NAME`` of ``NAME.tflite``.
    path : Path
        Of the network.
    manifest : Manifest or None
        What ``NAME.json`` says; None for a network alone.
    files : dict of str to bytes
        Every file by its name.
    sha256 : str
        Of ``NAME.json``, which holds those of all files; of the network where it is alone.
    accepted : frozenset of str
        SHA-256 of what of its code may run: of the pickle, or of the manifest where that names a class.
    assumed_kind : str
        What the network was taken or said to read, where that is not its manifest's word.
    """

    name: str
    path: Path
    manifest: Manifest | None
    files: dict[str, bytes] = field(repr=False)
    sha256: str
    accepted: frozenset[str] = field(default=frozenset(), repr=False)
    assumed_kind: str = ""

    @property
    def network(self) -> bytes:
        """The network."""
        return self.files[self.path.name]

    @property
    def pickle_path(self) -> Path:
        """Where the extractor is, or would be."""
        return self.path.with_suffix(".pkl")

    @property
    def pickle(self) -> bytes | None:
        """The pickled extractor, if there is one."""
        return self.files.get(self.pickle_path.name)

    @property
    def code(self) -> dict[str, str]:
        """What of it is code, by its SHA-256: a pickle, and the manifest where that names a class to import.

        A pickle that only builds this package's own extractor is none: see :func:`is_own_extractor`.
        """
        found: dict[str, str] = {}
        if self.pickle is not None and not is_own_extractor(self.pickle):
            found[hashlib.sha256(self.pickle).hexdigest()] = str(self.pickle_path)
        if self.manifest is not None and (name := self.manifest.foreign_class):
            found[self.sha256] = f"the class {name} of {self.path.with_suffix('.json')}"
        return found

    def check_accepted(self, content: bytes | None = None) -> None:
        """Refuse to run code that nobody has accepted here: a pickle of this content, or the class of the manifest.

        Raises
        ------
        BundleIntegrityError
            Says how to accept it.
        """
        code, digest = self.code, self.sha256 if content is None else hashlib.sha256(content).hexdigest()
        if digest in code and digest not in self.accepted:
            sudo = "sudo " if os.environ.get("STATE_DIRECTORY") else ""  # a service: root accepts for it
            raise BundleIntegrityError(
                f"{code[digest]} is code that was not made on this machine, and nobody has accepted it here; if "
                f"you trust who made it: {sudo}sonyc-ml bundle trust {quoted(self.path.absolute())}"
            )

    @property
    def head(self) -> bytes | None:
        """The network that reads the embedding, if there is one."""
        return self.files[self.manifest.head.network] if self.manifest and self.manifest.head else None

    @property
    def description(self) -> Description | None:
        """What the extractor says of itself; None where there is none, or it was made by something else."""
        return read_description(self.pickle) if self.pickle is not None else None


def read_bundle(
    path: str | Path,
    *,
    trusted_keys: str | Path | None = None,
    state: MachineState | None = None,
    trust_owners: Collection[str] = (),
    accepted: Collection[str] = (),
) -> Bundle:
    """Read ``NAME.tflite`` and what belongs to it, and check all of it before anything is run.

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite``.
    trusted_keys : str or Path, optional
        Public keys; where given, only a bundle signed by one of them is read, and none that is older than one that ran
        here before.
    state : MachineState, optional
        Where the versions that ran, and the code that was accepted, are remembered.
    trust_owners : collection of str
        Users whose files are taken beside root's and our own, by name or number: as in a laboratory's shared folder.
    accepted : collection of str
        SHA-256 of code that may run beside what this machine remembers: of a pickle, or of a manifest with a class. A
        signed manifest that is named may be older than one that ran before.

    Raises
    ------
    BundleIntegrityError
        The files cannot be trusted: a digest, a signature, a version, an owner or a mode is not what it should be.
    BundleError
        They cannot be read.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise BundleError(f"{path}: a model is named by its network, NAME.tflite")
    manifest_path = path.with_suffix(".json")
    if os.path.lexists(manifest_path):
        state = state or MachineState()
        bundle = _read_described(path, manifest_path, trusted_keys, owner_ids(trust_owners))
        if trusted_keys is not None and bundle.sha256 not in accepted:
            _refuse_older(bundle.manifest, state)
        return replace(
            bundle, accepted=_accepted(bundle, state, frozenset(accepted), is_signed=trusted_keys is not None)
        )
    return _read_lone(path, trusted_keys)


def _read_lone(path: Path, trusted_keys: str | Path | None) -> Bundle:
    """A network without a manifest."""
    if trusted_keys is not None:
        raise BundleIntegrityError(f"{path} has no manifest, and only signed bundles are trusted here ({trusted_keys})")
    network = read_plain(path)
    if os.path.lexists(path.with_suffix(".pkl")):
        raise BundleIntegrityError(
            f"{path.with_suffix('.pkl')} would be run, and no manifest lists it; if you made it, or trust who did: "
            f"sonyc-ml bundle trust {quoted(path)}"
        )
    return Bundle(path.stem, path, None, {path.name: network}, hashlib.sha256(network).hexdigest())


def _accepted(bundle: Bundle, state: MachineState, named: frozenset[str], *, is_signed: bool) -> frozenset[str]:
    """Which code of a bundle may run: signed, run here before acceptance was asked for, remembered, or named."""
    code = frozenset(bundle.code)
    if not code or is_signed or state.ran(bundle.sha256):
        return code
    return code & (state.accepted() | named)


def _read_described(path: Path, manifest_path: Path, trusted_keys: str | Path | None, owners: frozenset[int]) -> Bundle:
    content = read_guarded(manifest_path, owners)
    if trusted_keys is not None:
        check_signature(content, manifest_path, Path(trusted_keys), owners)
    manifest = parse_manifest(content, str(manifest_path))
    if path.name not in manifest.files:
        raise BundleIntegrityError(f"{manifest_path} does not list {path.name} among its files")
    if manifest.input.kind == "pickled" and path.with_suffix(".pkl").name not in manifest.files:
        raise BundleIntegrityError(
            f"{manifest_path} does not list {path.stem}.pkl among its files; if you trust it: "
            f"sonyc-ml bundle trust {quoted(path)}"
        )
    files = {name: _read_listed(path.with_name(name), digest, path, owners) for name, digest in manifest.files.items()}
    return Bundle(path.stem, path, manifest, files, hashlib.sha256(content).hexdigest())


def _read_listed(path: Path, digest: str, network: Path, owners: frozenset[int]) -> bytes:
    """Read a file and compare its digest: what is returned is what was compared."""
    content = read_guarded(path, owners)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise BundleIntegrityError(
            f"{path} is not the file that the manifest lists: its SHA-256 is {found[:12]}…, not {digest[:12]}…; "
            f"put the right file back or, if you changed it yourself: sonyc-ml bundle trust {quoted(network)}"
        )
    return content


def _refuse_older(manifest: Manifest | None, state: MachineState) -> None:
    newest = state.newest_version(manifest.name) if manifest else ()
    if manifest and manifest.version_numbers < newest:
        raise BundleIntegrityError(
            f"{manifest.name} {manifest.version} is older than {'.'.join(map(str, newest))}, which ran here before: "
            "an old version that was signed once is not trusted for ever; sign it again under a newer version"
        )


def load_extractor(bundle: Bundle) -> Callable[..., Any]:
    """Unpickle the extractor of a bundle. **This runs the code it holds.**

    Raises
    ------
    BundleError
        There is none, or it is damaged.
    BundleMismatchError
        It was made for another Python, or needs a module that is not installed; says which and what to do.
    BundleIntegrityError
        Nobody has accepted it here.
    """
    if bundle.pickle is None and os.path.lexists(bundle.pickle_path):
        raise BundleIntegrityError(
            f"no manifest lists {bundle.pickle_path}; if you trust it, make the bundle with it: "
            f"sonyc-ml bundle make --input-kind pickled {quoted(bundle.path)}"
        )
    if bundle.pickle is None:
        raise MissingBundleError(f"{bundle.pickle_path} does not exist; make it with `sonyc-ml features export`")
    bundle.check_accepted(bundle.pickle)
    check_description(bundle)
    description = bundle.description
    try:
        extractor = _unpickled(bundle.pickle, description)
    except ModuleNotFoundError as error:
        raise BundleMismatchError(_needs(bundle, error.name)) from error
    except Exception as error:  # unpickling foreign code can raise anything
        raise BundleMismatchError(
            f"{bundle.pickle_path} cannot be loaded by Python {platform.python_version()} ({type(error).__name__}: "
            f"{error}); it was made {_maker(description)}: export it again with this Python"
        ) from error
    if not callable(extractor):
        raise BundleMismatchError(f"{bundle.pickle_path} holds a {type(extractor).__name__}, not a function")
    return extractor  # type: ignore[no-any-return]


def check_description(bundle: Bundle) -> None:
    """Whether an extractor can be loaded here, by what it says of itself; nothing of it is run.

    Raises
    ------
    BundleMismatchError
        It was made for another Python, or needs a module that is not installed; says which and what to do.
    """
    description = bundle.description
    if description is not None and not description.any_python and not _same_minor_version(description.python):
        raise BundleMismatchError(
            f"{bundle.pickle_path} holds bytecode {_maker(description)}, "
            f"and this is Python {platform.python_version()}: export it again with this Python, "
            f"or run it with Python {description.python.rpartition('.')[0]}"
        )
    missing = [name for name in description.requires if not _is_installed(name)] if description else []
    if missing:
        raise BundleMismatchError(_needs(bundle, missing[0]))


def _unpickled(content: bytes, description: Description | None) -> Any:
    if description is not None and description.any_python:
        # Our own extractor: nothing in it is dill's.
        return own_extractor_of_today(content) or pickle.loads(content)  # noqa: S301
    import dill  # noqa: PLC0415  costs 30 ms and 8 MB

    return dill.loads(content)  # noqa: S301


def read_description(content: bytes) -> Description | None:
    """Read what a pickle says of itself, without running it."""
    last_line = content.rstrip(b"\n").rpartition(b"\n")[2]
    if not last_line.startswith(b'{"' + DESCRIPTION_KEY.encode()):
        return None
    try:
        return build(Description, json.loads(last_line)[DESCRIPTION_KEY])
    except (ValueError, TypeError, RecursionError):
        return None


def _maker(description: Description | None) -> str:
    if description is None:
        return "by a Python that it does not name"
    return f"by Python {description.python} with dill {description.dill} and numpy {description.numpy}"


def _needs(bundle: Bundle, module: str | None) -> str:
    return (
        f"{bundle.pickle_path} needs the module {module}, which is not installed here; install it, "
        "or export an extractor that does without (a function is exported by value from its own module only)"
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module.partition(".")[0]) is not None  # with more of the name, it would be imported
    except (ImportError, ValueError):  # the package that it would be in is not there, or it is no name
        return False


def _same_minor_version(version: str) -> bool:
    return version.split(".")[:2] == platform.python_version().split(".")[:2]
