"""Recordings of acoustic sensor nodes into embeddings, on the node."""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes longer to import than the rest of `sonyc-ml --help`
if TYPE_CHECKING:
    from typing import Any

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
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
