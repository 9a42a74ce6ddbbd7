"""What a window costs: a network's processor time on one thread, side by side with another's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

N_ROUNDS, N_WINDOWS_A_ROUND = 40, 50


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over rounds in which both networks took turns.

    Attributes
    ----------
    own_ms, other_ms : float
        A window's processor time through either network.
    ratio : float
        Median of the rounds' ratios, which other work on the machine disturbs less than the times.
    """

    own_ms: float
    other_ms: float
    ratio: float


def compared(own: Path, other: Path) -> Cost:
    """Time two networks in turns."""
    networks = [_ready(path) for path in (own, other)]
    rounds = np.array([[_round_ms(network) for network in networks] for _ in range(N_ROUNDS)])
    own_ms, other_ms = np.median(rounds, axis=0)
    return Cost(float(own_ms), float(other_ms), float(np.median(rounds[:, 0] / rounds[:, 1])))


def _ready(path: Path) -> Interpreter:
    network = Interpreter(str(path), num_threads=1)
    network.allocate_tensors()
    network.set_tensor(network.get_input_details()[0]["index"], _levels(network.get_input_details()[0]["shape"]))
    network.invoke()
    return network


def _levels(shape: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(-30, 25, shape).astype(np.float32)


def _round_ms(network: Interpreter) -> float:
    started = time.thread_time()
    for _ in range(N_WINDOWS_A_ROUND):
        network.invoke()
    return 1000 * (time.thread_time() - started) / N_WINDOWS_A_ROUND
