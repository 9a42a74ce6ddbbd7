"""Bundles of networks that turn sound into tracks: made from the networks and what nothing in them says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonyc_ml.authoring.network import describe_network
from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.records import dataclass, field, replace
from sonyc_ml.bundles import golden
from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.bundles.integrity import read_plain
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.bundles.manifest import Manifest
from sonyc_ml.bundles.sections import Golden, Input
from sonyc_ml.bundles.waveform import KIND, Overlap, Stage, State, Stream, Waveform
from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.features import RES_TYPES
from sonyc_ml.model.interpreter import Tensor
from sonyc_ml.model.runtime import construct, load_runtime, state_of_network
from sonyc_ml.model.waveform import WaveformModel

CLASSES = {"dtln": "sonyc_ml.model.waveform.dtln:DTLN"}  # of this package, by a short name
DTLN_LENGTHS = (512, 128)  # of a block and a hop, of every published DTLN


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a person says of networks that turn sound into tracks, as nothing in the networks does.

    Attributes
    ----------
    sample_rate : int > 0
        Of the networks (in Hz).
    tracks : tuple of str
        Names of what comes out, in the order of the network's outputs.
    stages : tuple of str
        File names of further networks in the same folder, in the order in which a block passes them.
    states : mapping of str to str
        Inputs that read what an output gave for the block before, by their names. Where none are given: of a network
        with several inputs, all but the first, each with the output that is like it.
    between : str
        What lies between the networks: ``dtln``, or ``module:name`` of a class that derives from
        :class:`sonyc_ml.model.waveform.BlockProcessor`.
    block_length, block_hop : int > 0, optional
        Of networks that read a stream: length of a block (in samples), by default what the first network's input says,
        and distance between two, by default the same; 512 and 128 of a DTLN.
    latency_length : int >= 0
        See :class:`sonyc_ml.bundles.waveform.Stream`.
    chunk_s, hop_s : float > 0, optional
        Of a network without a state: length of a chunk (in seconds), by default what its input says, and distance
        between two, by default half of that.
    window, normalise : str
        See :class:`sonyc_ml.bundles.waveform.Overlap`.
    res_type : str
        The resampler; the most exact one of this package where empty.
    tolerance : float, optional
        How far another machine's tracks may be off the golden vector; where not given, wide enough for the runtime's
        two kinds of kernels.
    """

    sample_rate: int
    tracks: tuple[str, ...]
    stages: tuple[str, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    between: str = ""
    block_length: int | None = None
    block_hop: int | None = None
    latency_length: int = 0
    chunk_s: float | None = None
    hop_s: float | None = None
    window: str = "hann"
    normalise: str = "none"
    res_type: str = ""
    tolerance: float | None = None


def make_waveform_bundle(
    path: str | Path, recipe: Recipe, *, version: str = "1.0.0", description: str = "", licence: str = ""
) -> Manifest:
    """Write ``NAME.json`` and the golden vector beside ``NAME.tflite``. **This runs the class that the recipe names.**

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite``: the network, or the first of several.
    recipe : Recipe
    version, description, licence : str
        For the manifest.

    Raises
    ------
    BundleError
        The parts do not fit each other.
    ValueError
        The recipe cannot be meant.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise BundleError(f"{path}: a bundle is named by its network, NAME.tflite")
    contents = {name: read_plain(path.with_name(name)) for name in (path.name, *recipe.stages)}
    section = _section(contents, recipe)
    stream, overlap = section.stream, section.overlap
    lengths = (stream.block_length, stream.hop_length) if stream else (0, 0)
    draft = Manifest(
        schema_version=1,
        name=path.stem,
        version=version,
        description=description,
        licence=licence,
        sample_rate=recipe.sample_rate,
        window_size_s=overlap.chunk_s if overlap else lengths[0] / recipe.sample_rate,
        hop_size_s=overlap.hop_s if overlap else lengths[1] / recipe.sample_rate,
        input=Input(KIND),
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        waveform=section,
    )
    return _write(path, draft, contents, recipe.tolerance)


def _section(contents: Mapping[str, bytes], recipe: Recipe) -> Waveform:
    """The manifest's section of a recipe, completed by what the networks say."""
    if recipe.sample_rate < 1:
        raise ValueError(f"the sample rate of the networks must be above 0 Hz, not {recipe.sample_rate}")
    stages, has_state = _stages(contents, recipe.states)
    first = describe_network(next(iter(contents.values()))).inputs[0]
    is_stream = has_state or recipe.between == "dtln" or recipe.block_length is not None
    if is_stream and recipe.chunk_s is not None:
        raise ValueError(
            "networks that carry a state read a stream of blocks (--block-length, --block-hop), and not chunks of a "
            "--duration that overlap"
        )
    stream = overlap = None
    if is_stream:
        usual = DTLN_LENGTHS if recipe.between == "dtln" else (0, 0)
        length = recipe.block_length or usual[0] or _length(first)
        stream = Stream(length, recipe.block_hop or usual[1] or length, recipe.latency_length)
    else:
        chunk_s = recipe.chunk_s or _length(first) / recipe.sample_rate
        overlap = Overlap(chunk_s, recipe.hop_s or chunk_s / 2, recipe.window, recipe.normalise)
    res_type = recipe.res_type or ("sinc" if "sinc" in RES_TYPES else "kaiser_best")
    return Waveform(recipe.tracks, stages, res_type, stream, overlap, CLASSES.get(recipe.between, recipe.between))


def _write(path: Path, draft: Manifest, contents: dict[str, bytes], tolerance: float | None) -> Manifest:
    """Prove the networks, write golden vector and manifest, and accept what was made here."""
    bundle = Bundle(path.stem, path, draft, contents, "")
    bundle = replace(bundle, accepted=frozenset(bundle.code))  # it runs because its maker asks for it
    y, sr = golden.golden_signal(), golden.SAMPLE_RATE
    model = WaveformModel(bundle)
    tracks, again = (model.separate(y, sr) for _ in range(2))
    for track, samples in tracks.items():
        if not np.isfinite(samples).all():
            raise BundleMismatchError(f"{path}: the track {track} of the golden signal holds NaN or infinity")
        if not np.array_equal(samples, again[track]):
            raise BundleMismatchError(f"{path}: the same sound gives another {track} the second time")
    reference = WaveformModel(bundle, reference_kernels=True).separate(y, sr)
    apart = max(float(np.abs(tracks[track] - reference[track]).max()) for track in tracks)
    assert draft.waveform is not None  # it was made with one
    section = replace(
        draft.waveform, tolerance=max(draft.waveform.tolerance, apart) if tolerance is None else tolerance
    )
    vector = golden.pack_tracks(y, sr, tracks, reference)
    golden_path = path.with_suffix(".golden.npz")
    write_atomically(golden_path, vector)
    manifest = replace(
        draft,
        waveform=section,
        files=draft.files | {golden_path.name: hashlib.sha256(vector).hexdigest()},
        golden=Golden(golden_path.name),
    )
    text = manifest.text().encode()
    write_atomically(path.with_suffix(".json"), text)
    state = MachineState()
    for digest, what in Bundle(path.stem, path, manifest, contents, hashlib.sha256(text).hexdigest()).code.items():
        state.accept(digest, what)
    return manifest


def _stages(contents: Mapping[str, bytes], states: Mapping[str, str]) -> tuple[tuple[Stage, ...], bool]:
    """The sections of the networks, and whether one of them has a state."""
    sections, has_state, unused = [], False, dict(states)
    _, library = load_runtime(None)
    for name, content in contents.items():
        network = describe_network(content)
        named = {tensor.name for tensor in network.inputs}
        given = {read: unused.pop(read) for read in states if read in named and read in unused}
        pairs = given or _guessed(name, network.inputs, network.outputs)
        sections.append(Stage(name, tuple(State(read, written) for read, written in pairs.items())))
        has_state |= bool(pairs or state_of_network(construct(library, content, 1, reference_kernels=False)))
    if unused:
        raise BundleMismatchError(f"no network has an input {', '.join(unused)}, which is named as a state")
    return tuple(sections), has_state


def _guessed(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, str]:
    """The states of a network that nobody named: its further inputs, each with the one output that is like it."""
    pairs: dict[str, str] = {}
    for tensor in inputs[1:]:
        alike = [other.name for other in outputs[1:] if (other.shape, other.dtype) == (tensor.shape, tensor.dtype)]
        if len(alike) != 1 or alike[0] in pairs.values():
            raise BundleMismatchError(
                f"{name} reads {tensor} beside the sound, and {len(alike)} of its further outputs are like it: name "
                f"the output whose values it reads from the block before, as in --state {tensor.name}=OUTPUT"
            )
        pairs[tensor.name] = alike[0]
    return pairs


def _length(tensor: Tensor) -> int:
    """How many samples the network's input says that it reads."""
    sizes: list[Any] = [size for size in tensor.shape[1:] or tensor.shape if size != 1]
    if len(sizes) > 1 or min(sizes, default=1) < 0:
        raise BundleMismatchError(
            f"the network reads {tensor}, which does not say how many samples: give --chunk-s, or --block-length of a "
            "network that reads a stream"
        )
    return int(sizes[0]) if sizes else 1
