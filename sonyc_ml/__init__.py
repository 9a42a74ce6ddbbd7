"""Recordings of acoustic sensor nodes into embeddings, on the node."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonyc_ml.features import get_features
    from sonyc_ml.model import AudioModel, PCMModel, SpecModel
    from sonyc_ml.model.loading import load_model
    from sonyc_ml.outputs.reading import iter_outputs, read_embeddings
    from sonyc_ml.sound.files import read_recording

__all__ = [
    "AudioModel",
    "PCMModel",
    "SpecModel",
    "get_features",
    "iter_outputs",
    "load_model",
    "read_embeddings",
    "read_recording",
]
__version__ = "0.1.0"

_HOMES = {
    "get_features": "features",
    "iter_outputs": "outputs.reading",
    "load_model": "model.loading",
    "read_embeddings": "outputs.reading",
    "read_recording": "sound.files",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `sonyc-ml --help` needs no numpy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
