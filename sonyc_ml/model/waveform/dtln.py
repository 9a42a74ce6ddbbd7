"""What lies between the two networks of a DTLN, which takes noise out of speech.

N. L. Westhausen, B. T. Meyer. "Dual-Signal Transformation LSTM Network for Real-Time Noise Suppression." Interspeech
2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model.waveform.blocks import BlockProcessor
from sonyc_ml.model.waveform.stages import Run

Floats = npt.NDArray[np.float32]

TINY = 1e-300  # instead of a magnitude of 0


class DTLN(BlockProcessor):
    """The first network masks the spectrum's magnitudes, the second one reads the samples of the masked spectrum.

    The phase is that of the block. Blocks have no window; what they give is added where they overlap.
    """

    def __init__(self, stages: Sequence[Run], block_length: int, n_tracks: int) -> None:
        super().__init__(stages, block_length, n_tracks)
        sizes = [[tensor.shape[-1] for tensor in stage.inputs] for stage in stages]
        if sizes != [[block_length // 2 + 1], [block_length]] or n_tracks != 1:
            raise BundleMismatchError(
                f"a DTLN is two networks and one track: the first reads {block_length // 2 + 1} magnitudes, the second "
                f"{block_length} samples, and their states are named in the manifest; these read "
                f"{' and '.join(map(str, sizes))}, for {n_tracks} tracks"
            )

    def process(self, block: Floats) -> Floats:
        """Turn one block into one of the sound without noise; see :meth:`BlockProcessor.process`."""
        spectrum = np.fft.rfft(block.astype(np.float64))
        exact = np.abs(spectrum)
        # Masked as float32 and brought back to the block's phase, as its authors' own program has it: a network that
        # is quantised makes more of the last bit than one would think.
        magnitude = exact.astype(np.float32)
        (mask,) = self.stages[0](magnitude)
        masked = np.fft.irfft(magnitude * mask.reshape(-1) / np.maximum(exact, TINY) * spectrum, self.block_length)
        return self.tracks_of(self.stages[1](masked.astype(np.float32)))
