"""The three kinds of models. They differ only in what turns samples into the features that the network reads."""

from __future__ import annotations

import logging
import math
from inspect import Parameter, Signature, signature
from typing import Any

from sonyc_ml.bundles.bundle import Bundle, load_extractor
from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.features import LogMel, PCMWindows
from sonyc_ml.model.base import Model
from sonyc_ml.model.extractor import Extractor
from sonyc_ml.model.function_extractor import FunctionExtractor
from sonyc_ml.model.log_mel import explain_misfit, fit_log_mel, usual_res_type

logger = logging.getLogger(__name__)


def _as_method(of: Signature) -> Signature:
    """The signature of a method that takes the same keywords."""
    return of.replace(parameters=[Parameter("self", Parameter.POSITIONAL_ONLY), *of.parameters.values()])


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
            explain_misfit(extractor, self.declared)
            return extractor  # type: ignore[no-any-return]
        return FunctionExtractor(extractor, self.bundle, duration, hop_size, self.n_channels)


class SpecModel(Model):
    """A network that reads the built-in log-mel features; further keywords are those of `features.get_features`.

    Where the network's shape alone decides their layout, it is found, logged, and recorded in the outputs.
    """

    def make_extractor(self, **parameters: Any) -> Extractor:
        """Make log-mel features of the layout that the network reads; see the class for the keywords."""
        if "res_type" not in parameters and _is_undescribed(self.bundle, "log_mel"):
            parameters["res_type"] = usual_res_type("log_mel", parameters)
        extractor, self.found = fit_log_mel(parameters, self.declared)
        if self.found and _is_undescribed(self.bundle, "log_mel"):
            words = ", ".join(f"{name}={value}" for name, value in self.found.items())
            logger.warning("nothing says the layout of what %s reads; by its shape it is %s", self.bundle.path, words)
        return extractor

    make_extractor.__signature__ = _as_method(signature(LogMel))  # type: ignore[attr-defined]


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
    hop_size : float > 0, optional
        Distance between windows (in seconds); the manifest's, or where that says none a window's length.
    res_type : str, optional
        See :data:`sonyc_ml.features.RES_TYPES`; "sinc" where nothing says it. Manifests of before "sinc" was there
        that say none mean "kaiser_best".
    align, lead_s, shortest_s
        Where windows begin; see :class:`sonyc_ml.features.WindowExtractor`.
    """

    def make_extractor(
        self,
        target_sr: int | None = None,
        duration: float | None = None,
        hop_size: float | None = None,
        res_type: str | None = None,
        align: str = "middle",
        lead_s: float = 0.0,
        shortest_s: float | None = None,
    ) -> Extractor:
        """Make windows of samples; see the class for the keywords."""
        if not target_sr:
            raise ValueError("a network that reads samples does not say their rate: give it as target_sr (--target-sr)")
        declared = self.declared
        window = declared[1:] or declared
        if duration is None and min(window) < 0:
            raise ValueError("the network takes windows of any length: give one as duration (--duration)")
        duration = math.prod(window) / target_sr if duration is None else duration
        is_new = _is_undescribed(self.bundle, "pcm")
        if hop_size is None and not is_new and self.bundle.manifest is not None:
            hop_size = self.bundle.manifest.hop_size_s or None  # 0 while the manifest is being made
        elif hop_size is None:
            text = "nothing says the distance between the windows of %s: they follow each other, every %g s (hop_size)"
            logger.warning(text, self.bundle.path, duration)
        res_type = res_type or ("sinc" if is_new else "kaiser_best")
        hop_size = duration if hop_size is None else hop_size
        return PCMWindows(duration, hop_size, target_sr, res_type, align, lead_s, shortest_s)


def _is_undescribed(bundle: Bundle, kind: str) -> bool:
    """Whether no manifest says that a bundle reads this kind: then what is not said is as new bundles have it."""
    return bundle.manifest is None or bundle.manifest.input.kind != kind
