"""Recordings of acoustic sensor nodes into embeddings, on the node.

::

    import sonyc_ml

    model = sonyc_ml.load_model()  # the default bundle; or "models/NAME.tflite", with NAME.json and NAME.pkl beside it
    y, sr = sonyc_ml.read_recording("a.wav")
    embedding = model.get_embedding(y, sr)  # (n_windows, n_dims)
    outputs = model.get_outputs(y, sr)  # "timestamps", and each of "embedding" and "scores" that the network has
    model.process_file("a.wav", "a.npz")  # the same, written to a file; memory does not grow with the recording
    table = sonyc_ml.read_embeddings("outputs/").to_pandas()
    heard = sonyc_ml.read_detections("outputs/").to_pandas()  # where detections were asked for

    model = sonyc_ml.load_waveform_model("models/NAME.tflite")  # of a bundle that turns sound into tracks
    tracks = model.separate(y, sr)  # each (n_channels, n_samples), by its name

What can go wrong is in `sonyc_ml.errors`. The command ``sonyc-ml --help`` lists what there is for the shell.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes longer to import than the rest of `sonyc-ml --help`
if TYPE_CHECKING:
    from typing import Any

    from sonyc_ml import errors
    from sonyc_ml.authoring.hub import save_model
    from sonyc_ml.features import get_features
    from sonyc_ml.model import AudioModel, PCMModel, SpecModel
    from sonyc_ml.model.loading import load_model
    from sonyc_ml.model.waveform import WaveformModel
    from sonyc_ml.model.waveform.loading import load_waveform_model
    from sonyc_ml.outputs.cache import OutputCache
    from sonyc_ml.outputs.levels.table import read_levels
    from sonyc_ml.outputs.reading import iter_outputs, read_detections, read_embeddings
    from sonyc_ml.sound.files import read_recording

__all__ = [
    "AudioModel",
    "OutputCache",
    "PCMModel",
    "SpecModel",
    "WaveformModel",
    "errors",
    "get_features",
    "iter_outputs",
    "load_model",
    "load_waveform_model",
    "read_detections",
    "read_embeddings",
    "read_levels",
    "read_recording",
    "save_model",
]
__version__ = "0.1.0"

_HOMES = {
    "OutputCache": "outputs.cache",
    "WaveformModel": "model.waveform",
    "get_features": "features",
    "iter_outputs": "outputs.reading",
    "load_model": "model.loading",
    "load_waveform_model": "model.waveform.loading",
    "read_detections": "outputs.reading",
    "read_embeddings": "outputs.reading",
    "read_levels": "outputs.levels.table",
    "read_recording": "sound.files",
    "save_model": "authoring.hub",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `sonyc-ml --help` needs no numpy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    if name == "errors":
        return import_module(f"{__name__}.errors")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)


def __dir__() -> list[str]:
    """List what there is to use: names that are imported later are not among the globals yet."""
    return sorted({*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__", "__spec__", "__version__"})
