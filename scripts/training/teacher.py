"""YAMNet, the teacher: what it hears in a window of 16 kHz sound.

Its class scores say too little (521 sigmoids, nearly all of them 0), so the student learns what is before them: the 521
numbers that go into the sigmoids, the 1024 from which these are computed (the mean over its last feature map), and the
mean over an earlier feature map, of 512 channels, that is closer to the sound.
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
N_LOGITS, N_MEAN, N_EARLIER = 521, 1024, 512
N_DIMS = N_MEAN + N_LOGITS + N_EARLIER


class Teacher:
    """What three layers of YAMNet make of windows.

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
        self._mean, self._logits, self._earlier = self._tensors()

    def __call__(self, windows: Floats) -> Floats:
        """Return `(n_windows, 2057)` numbers, mean, logits and earlier layer, of windows `(n_windows, 15600)`."""
        rows = np.empty((len(windows), N_DIMS), np.float32)
        for window, row in zip(windows, rows, strict=True):
            self._network.set_tensor(self._input, window.reshape(1, -1))
            self._network.invoke()
            earlier = self._network.get_tensor(self._earlier)[0].mean(axis=(0, 1))
            row[:] = np.concatenate(
                [self._network.get_tensor(self._mean)[0], self._network.get_tensor(self._logits)[0], earlier]
            )
        return rows

    def _tensors(self) -> tuple[int, int, int]:
        """Numbers of the tensors: what MEAN writes, what LOGISTIC reads, and the last convolution of 512 channels."""
        operators = self._network._get_ops_details()  # noqa: SLF001  nothing public tells
        own = {operator["op_name"]: operator for operator in operators}
        channels = {tensor["index"]: tensor["shape"][-1] for tensor in self._network.get_tensor_details()}
        convolved = [int(operator["outputs"][0]) for operator in operators if operator["op_name"] == "CONV_2D"]
        earlier = [tensor for tensor in convolved if channels[tensor] == N_EARLIER][-1]
        return int(own["MEAN"]["outputs"][0]), int(own["LOGISTIC"]["inputs"][0]), earlier
