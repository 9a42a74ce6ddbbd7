"""YAMNet, the teacher: what it hears in a window of 16 kHz sound.

Its class scores say too little (521 sigmoids, nearly all of them 0), so the student learns the 1024 numbers from which
YAMNet computes them: the mean over its last feature map.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

Floats = npt.NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
WINDOW_LENGTH = 15_600  # 0.975 s
N_DIMS = 1024


class Teacher:
    """YAMNet's embedding of windows.

    Parameters
    ----------
    path : Path
        ``yamnet.tflite``, the float network that reads samples.
    """

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings():  # that keeping all tensors needs memory is known
            warnings.simplefilter("ignore")
            self._network = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]["index"]
        self._embedding = self._mean_tensor()

    def __call__(self, windows: Floats) -> Floats:
        """Return the embeddings `(n_windows, 1024)` of windows `(n_windows, 15600)`."""
        embeddings = np.empty((len(windows), N_DIMS), np.float32)
        for window, embedding in zip(windows, embeddings, strict=True):
            self._network.set_tensor(self._input, window.reshape(1, -1))
            self._network.invoke()
            embedding[:] = self._network.get_tensor(self._embedding)[0]
        return embeddings

    def _mean_tensor(self) -> int:
        """Number of the tensor that the network's one MEAN operator writes."""
        operators = self._network._get_ops_details()  # noqa: SLF001  nothing public tells
        return next(int(operator["outputs"][0]) for operator in operators if operator["op_name"] == "MEAN")
