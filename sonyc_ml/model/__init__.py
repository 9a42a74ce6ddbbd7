"""The network at work: features in, embeddings out."""

from sonyc_ml.model.kinds import AudioModel, Extractor, Model, PCMModel, SpecModel

__all__ = ["AudioModel", "Extractor", "Model", "PCMModel", "SpecModel"]
