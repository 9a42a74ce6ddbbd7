"""The network at work: features in, embeddings out."""

from sonyc_ml.model.base import Model
from sonyc_ml.model.extractor import Extractor
from sonyc_ml.model.kinds import AudioModel, PCMModel, SpecModel

__all__ = ["AudioModel", "Extractor", "Model", "PCMModel", "SpecModel"]
