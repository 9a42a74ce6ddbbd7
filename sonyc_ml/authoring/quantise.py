"""A float32 bundle to a smaller one, and what it loses by that, measured on recordings of the user's."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.authoring.make import check_repeats, complete_manifest
from sonyc_ml.authoring.quantising.loss import MAX_LOSS, MIN_AGREEMENT, MIN_COSINE, Report, compare, times_of
from sonyc_ml.authoring.quantising.material import Choice, Material, Sounds, calibration_windows, find_material
from sonyc_ml.authoring.quantising.recipes import CALIBRATED, RECIPES, quantised_network
from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.records import dataclass
from sonyc_ml.bundles.about import Quantisation
from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.bundles.integrity import quoted, read_plain
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.bundles.manifest import Manifest
from sonyc_ml.errors import BundleError, ConfigError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model, make_model

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised bundle that was measured, and is not written yet.

    Attributes
    ----------
    model : Model
        Of the new bundle.
    report : Report
    """

    model: Model
    report: Report

    def write(self) -> Manifest:
        """Write the bundle with a golden vector: the network last, which makes a bundle of the other files.

        Raises
        ------
        BundleError
            A file of another content has the name of one of its files.
        StoreError
            A file cannot be written.
        """
        bundle = self.model.bundle
        assert bundle.manifest is not None  # the draft
        draft = dataclasses.replace(bundle.manifest, quantisation=self.report.quantisation)
        manifest, vector = complete_manifest(draft, self.model, make_model(bundle, reference_kernels=True), {})
        content, path = manifest.text().encode(), bundle.path
        files = bundle.files | {path.with_suffix(".golden.npz").name: vector, path.with_suffix(".json").name: content}
        for name, held in bundle.files.items():
            if path.with_name(name).exists() and read_plain(path.with_name(name)) != held:
                raise BundleError(
                    f"{path.with_name(name)} is there already, and holds something else: give another folder"
                )
        for name in sorted(files, key=lambda name: name == path.name):
            write_atomically(path.with_name(name), files[name])
        written = dataclasses.replace(bundle, manifest=manifest, sha256=hashlib.sha256(content).hexdigest())
        for digest, what in written.code.items():
            MachineState().accept(digest, what)
        return manifest


def quantise(
    path: str | Path,
    recordings: str | Path,
    recipe: str = "int8",
    output: str | Path | None = None,
    *,
    max_loss: float = MAX_LOSS,
    min_cosine: float = MIN_COSINE,
    min_agreement: float = MIN_AGREEMENT,
    **choices: Any,
) -> Report:
    """Make a smaller bundle of a float32 one, if it does not lose too much.

    Parameters
    ----------
    path, recordings, recipe, output, **choices
        Those of :func:`measure_quantised`.
    max_loss, min_cosine, min_agreement : float
        Those of :meth:`Report.refusal`.

    Returns
    -------
    Report

    Raises
    ------
    BundleError
        It cannot be quantised, or loses more than that; nothing is written then.
    ConfigError
        There are no recordings, or what quantises is not installed.
    """
    made = measure_quantised(path, recordings, recipe, output, **choices)
    refusal = made.report.refusal(max_loss, min_cosine, min_agreement)
    if refusal:
        raise BundleError(refusal)
    made.write()
    return made.report


def measure_quantised(
    path: str | Path,
    recordings: str | Path,
    recipe: str = "int8",
    output: str | Path | None = None,
    *,
    version: str = "1.0.0",
    choice: Choice | None = None,
) -> Quantised:
    """Quantise the network of a float32 bundle, and compare both on recordings; nothing is written.

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite`` with its manifest.
    recordings : str or Path
        A folder: some of what is in it measures ranges, and others judge. Folders that are named as classes say what
        is heard.
    recipe : str
        One of :data:`sonyc_ml.authoring.quantising.recipes.RECIPES`.
    output : str or Path, optional
        The new ``NAME.tflite``; where not given, with the recipe behind the old name.
    version : str
        Of the new bundle.
    choice : Choice, optional
        How many recordings and windows.

    Raises
    ------
    BundleError
        It cannot be quantised.
    ConfigError
        There are no recordings, or what quantises is not installed.
    """
    path, choice, sounds = Path(path), choice or Choice(), Sounds()
    target = _target(path, recipe, output)
    before = _float_model(path)
    material = find_material(recordings, choice)
    windows, n_recordings = calibration_windows(before, material, choice.n_windows, sounds)
    network, tool = _quantised(before, recipe, windows)
    measured = (n_recordings, len(windows)) if recipe in CALIBRATED else (0, 0)
    origin = _origin(before, recipe, tool, *measured, choice.seed)
    after = _draft_model(target, *_draft(before, target, network, version, origin))
    report = _report(before, after, windows, material, sounds)
    return Quantised(after, report)


def _target(path: Path, recipe: str, output: str | Path | None) -> Path:
    if recipe not in RECIPES:
        raise ValueError(f"recipe {recipe!r} is not known; use one of {', '.join(RECIPES)}")
    target = path.with_name(f"{path.stem}_{recipe}.tflite") if output is None else Path(output)
    if target.suffix != ".tflite":
        raise BundleError(f"{target}: a bundle is named by its network, NAME.tflite")
    for name in (target.name, target.with_suffix(".json").name):
        if os.path.lexists(target.with_name(name)):
            raise BundleError(f"{target.with_name(name)} is there already: give another --output, or remove it first")
    return target


def _float_model(path: Path) -> Model:
    model = load_model(path)
    if model.bundle.manifest is None:
        raise BundleError(
            f"{path} has no manifest, which says what it reads: make one with `sonyc-ml bundle make {quoted(path)}`"
        )
    if len(model.interpreter.inputs) != 1:
        raise BundleError(f"{path} has {len(model.interpreter.inputs)} inputs; a network with 1 can be quantised here")
    if model.bundle.manifest.stages:
        raise BundleError(f"{path} is the first of a chain of networks, and one is quantised at a time: quantise each")
    if model.interpreter.state:
        raise BundleError(
            f"{path} keeps something from one window for the next, which the ranges of its activations depend on: a "
            "network with state cannot be quantised here"
        )
    return model


def _quantised(model: Model, recipe: str, windows: Floats) -> tuple[bytes, str]:
    """The network quantised on windows, in the shape that its input has."""
    shape = model.interpreter.inputs[0].shape
    fixed = (len(windows), 1, *shape[1:]) if len(shape) > 1 else (len(windows), *shape)
    try:
        return quantised_network(model.bundle.network, recipe, windows.reshape(fixed))
    except BundleError as error:
        raise type(error)(f"{model.bundle.path}: {error}") from error


def _origin(model: Model, recipe: str, tool: str, n_recordings: int, n_windows: int, seed: int) -> Quantisation:
    bundle, manifest = model.bundle, model.bundle.manifest
    return Quantisation(
        recipe=recipe,
        tool=tool,
        source=f"{bundle.name} {manifest.version}" if manifest else bundle.name,
        source_sha256=hashlib.sha256(bundle.network).hexdigest(),
        source_bytes=len(bundle.network),
        n_recordings=n_recordings,
        n_windows=n_windows,
        seed=seed,
        n_held_out=0,
    )


def _draft(
    model: Model, target: Path, network: bytes, version: str, quantisation: Quantisation
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and files of the new bundle, without a golden vector: all else is that of the old one."""
    bundle, source = model.bundle, model.bundle.manifest
    assert source is not None  # _float_model has seen to it
    golden = source.golden.file if source.golden else ""
    renamed = {bundle.path.name: target.name, bundle.pickle_path.name: target.with_suffix(".pkl").name}
    files = {renamed.get(name, name): content for name, content in bundle.files.items() if name != golden}
    files[target.name] = network
    draft = dataclasses.replace(
        source,
        name=target.stem,
        version=version,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        golden=None,
        quantisation=quantisation,
    )
    return draft, files


def _draft_model(path: Path, draft: Manifest, files: dict[str, bytes]) -> Model:
    """The model of a bundle that is not written yet; its code runs because whoever asks for it has loaded it before."""
    bundle = Bundle(path.stem, path, draft, files, "")
    try:
        model = make_model(dataclasses.replace(bundle, accepted=frozenset(bundle.code)))
        check_repeats(model)
    except BundleError as error:
        made = draft.quantisation
        what = f"the recipe {made.recipe} makes of {made.source}" if made else "is made"
        raise type(error)(f"what {what} does not run, try another recipe: {error}") from error
    return model


def _report(before: Model, after: Model, windows: Floats, material: Material, sounds: Sounds) -> Report:
    compared = compare(before, after, material, sounds)
    if not compared.names:
        raise ConfigError(f"no recording of those held out in {material.folder} can be read, so nothing can be judged")
    ms_before, ms_after = times_of([before, after], windows)
    manifest = after.bundle.manifest
    assert manifest is not None  # the draft
    assert manifest.quantisation is not None  # which says what it is made for
    return Report(
        path=str(after.bundle.path),
        quantisation=dataclasses.replace(manifest.quantisation, **compared.figures()),
        bytes_before=len(before.bundle.network),
        bytes_after=len(after.bundle.network),
        ms_before=ms_before,
        ms_after=ms_after,
        n_held_out_windows=compared.n_windows,
        held_out=tuple(compared.names),
        lost_recordings=tuple(sounds.unreadable),
        notes=tuple(_notes(material, sounds)),
    )


def _notes(material: Material, sounds: Sounds) -> Iterator[str]:
    n_used = len(material.calibrating) + len(material.held_out)
    if n_used < material.n_found:
        yield f"{n_used:,} of {material.n_found:,} recordings were used, from each folder in turn"
    if sounds.n_cut:
        yield f"of {sounds.n_cut:,} long ones, the first minute"
    if sounds.n_doubles:
        yield f"{sounds.n_doubles:,} held out were copies of others that ranges were measured on, and left out"
    if material.skipped:
        yield f"skipped, as they are not read: {material.skipped}"
