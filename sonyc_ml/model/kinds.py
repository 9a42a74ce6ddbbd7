"""The three kinds of models. They differ only in what turns samples into the features that the network reads."""

from __future__ import annotations

import math
from typing import Any

from sonyc_ml.bundles.bundle import load_extractor
from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.features import LogMel, PCMWindows
from sonyc_ml.model.base import Model
from sonyc_ml.model.extractor import Extractor
from sonyc_ml.model.function_extractor import FunctionExtractor


class AudioModel(Model):
    """A network with a pickled extractor of the same name, ``NAME.pkl``. Loading it runs the code it holds.

    Parameters
    ----------
    model_path, **network
        Those of :class:`Model`.
    duration, hop_size : float > 0, optional
        Window and hop of an extractor that does not say its own (in seconds); 1 and 0.1 where nothing says.
    """

    def make_extractor(self, duration: float | None = None, hop_size: float | None = None) -> Extractor:
        """Unpickle the extractor; see the class for the keywords."""
        extractor: Any = load_extractor(self.bundle)
        if hasattr(extractor, "stream") and hasattr(extractor, "framing"):
            if duration not in (None, extractor.window_size_s):
                raise BundleMismatchError(
                    f"{self.bundle.pickle_path} cuts windows of {extractor.window_size_s:g} s, not {duration:g} s"
                )
            if hop_size is not None:
                extractor.framing(1, extractor.sample_rate, hop_size)  # refuses what is no hop
                extractor.hop_size_s = hop_size
            return extractor  # type: ignore[no-any-return]
        return FunctionExtractor(extractor, self.bundle, duration, hop_size)


class SpecModel(Model):
    """A network that reads the built-in log-mel features; further keywords are those of `features.get_features`."""

    make_extractor = staticmethod(LogMel)


class PCMModel(Model):
    """A network that reads samples as they are.

    Parameters
    ----------
    model_path, **network
        Those of :class:`Model`.
    target_sr : int > 0
        The network's sample rate (in Hz).
    duration : float > 0, optional
        Length of a window (in seconds); what the network's input says where not given.
    hop_size : float > 0
        Distance between windows (in seconds).
    res_type : str
        See :data:`sonyc_ml.features.RES_TYPES`.
    """

    def make_extractor(
        self,
        target_sr: int | None = None,
        duration: float | None = None,
        hop_size: float = 0.1,
        res_type: str = "kaiser_best",
    ) -> Extractor:
        """Make windows of samples; see the class for the keywords."""
        if not target_sr:
            raise ValueError("a network that reads samples does not say their rate: give it as target_sr (--target-sr)")
        declared = self.interpreter.input.shape
        window = declared[1:] or declared
        if duration is None and min(window) < 0:
            raise ValueError("the network takes windows of any length: give one as duration (--duration)")
        duration = math.prod(window) / target_sr if duration is None else duration
        return PCMWindows(duration, hop_size, target_sr, res_type)
