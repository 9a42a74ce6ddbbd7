"""Sound in, sound out: networks that turn a recording into tracks."""

from sonyc_ml.model.waveform.blocks import BlockProcessor
from sonyc_ml.model.waveform.model import WaveformModel
from sonyc_ml.model.waveform.stages import Run

__all__ = ["BlockProcessor", "Run", "WaveformModel"]
