"""What is done with each block of sound: the networks that it passes, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model.waveform.stages import Run

Floats = npt.NDArray[np.float32]


class BlockProcessor:
    """Takes the blocks of one channel through the networks, one network behind another.

    What lies between the networks of a model belongs to a class that derives from this one and defines
    :meth:`process`; its manifest names the class by its dotted path. One is made for each channel of each sound, at its
    beginning, so that what it keeps from block to block is a state like those of its networks.

    Parameters
    ----------
    stages : sequence of Run
        The networks, each with a state of its own: call one with its inputs.
    block_length : int > 0
        Length of a block (in samples).
    n_tracks : int > 0
        How many tracks come out.

    Attributes
    ----------
    stages : tuple of Run
    block_length, n_tracks : int
    """

    def __init__(self, stages: Sequence[Run], block_length: int, n_tracks: int) -> None:
        self.stages, self.block_length, self.n_tracks = tuple(stages), block_length, n_tracks

    def process(self, block: Floats) -> Floats:
        """Turn one block into one block of each track.

        Parameters
        ----------
        block : np.ndarray [shape=(block_length,), dtype=float32]
            Samples at the model's rate.

        Returns
        -------
        np.ndarray [shape=(n_tracks, block_length)]
        """
        values: tuple[Floats, ...] = (block,)
        for stage in self.stages:
            values = stage(*values)
        return self.tracks_of(values)

    def tracks_of(self, outputs: tuple[Floats, ...]) -> Floats:
        """What the last network gives as tracks: an output for each, or one output with all of them.

        Parameters
        ----------
        outputs : tuple of np.ndarray

        Returns
        -------
        np.ndarray [shape=(n_tracks, block_length), dtype=float32]

        Raises
        ------
        BundleMismatchError
            They are not of that shape.
        """
        wanted = self.n_tracks, self.block_length
        if len(outputs) == self.n_tracks == 1 and outputs[0].size == self.block_length:
            return outputs[0].reshape(wanted)
        if len(outputs) == self.n_tracks and all(output.size == self.block_length for output in outputs):
            return np.stack([output.reshape(-1) for output in outputs])
        sizes = tuple(size for size in outputs[0].shape if size != 1)
        if len(outputs) == 1 and sizes == wanted:
            return outputs[0].reshape(wanted)
        if len(outputs) == 1 and sizes == wanted[::-1]:
            return outputs[0].reshape(wanted[::-1]).T
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise BundleMismatchError(
            f"{self.stages[-1].name} gives {shapes}, and not {self.n_tracks} tracks of {self.block_length} samples"
        )
