"""A sensor node's recorder, simulated: writes synthetic street recordings into a folder, one after another.

Each file grows while it is recorded, in real time, and is closed at its end, as a node's recorder does it. Ends with
the process that started it.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 44100
WRITE_S = 0.5  # how much sound a recorder buffers
N_KEPT = 20  # of its recordings; older ones are removed, so that no disk fills up

Samples = npt.NDArray[np.float64]


def main() -> None:
    """Record until the parent process is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a recording")
    parser.add_argument(
        "--keep", type=int, default=N_KEPT, metavar="N", help=f"remove older recordings (default {N_KEPT})"
    )
    parser.add_argument("--one", action="store_true", help="write one recording at once, and end")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    parent, rng = os.getppid(), np.random.default_rng()
    if arguments.one:
        record(arguments.folder / "street.wav", street(rng, arguments.seconds), parent, wait_s=0)
        return
    while os.getppid() == parent:
        name = datetime.datetime.now(datetime.UTC).strftime("street_%Y%m%dT%H%M%SZ.wav")
        record(arguments.folder / name, street(rng, arguments.seconds), parent)
        for old in sorted(arguments.folder.glob("street_*.wav"))[: -arguments.keep]:
            old.unlink(missing_ok=True)


def record(path: Path, samples: Samples, parent: int, wait_s: float = WRITE_S) -> None:
    """Write samples a buffer at a time, as they would come in."""
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    n_bytes = int(WRITE_S * SAMPLE_RATE) * 2
    with path.open("wb") as file, wave.open(file) as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(SAMPLE_RATE)
        for start in range(0, len(pcm), n_bytes):
            time.sleep(wait_s)
            recording.writeframes(pcm[start : start + n_bytes])
            file.flush()
            if os.getppid() != parent:
                break


def street(rng: np.random.Generator, seconds: float) -> Samples:
    """Traffic at a distance, cars that pass, now and then a horn, a siren or a dog."""
    time_s = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = 0.03 * coloured_noise(rng, len(time_s), low_hz=20, high_hz=800)
    for _ in range(rng.poisson(seconds / 4)):
        passing = np.exp(-0.5 * ((time_s - rng.uniform(0, seconds)) / rng.uniform(0.5, 1.5)) ** 2)
        sound += rng.uniform(0.03, 0.12) * passing * coloured_noise(rng, len(time_s), low_hz=60, high_hz=4000)
    event = rng.choice(["nothing", "horn", "siren", "dog"], p=[0.4, 0.2, 0.2, 0.2])
    start_s = rng.uniform(0, seconds / 2)
    if event == "horn":
        envelope = (time_s > start_s) & (time_s < start_s + 0.6)
        sound += 0.08 * envelope * sum(np.sign(np.sin(2 * np.pi * hz * time_s)) for hz in (420, 530))
    elif event == "siren":
        hz = 900 + 350 * np.sin(2 * np.pi * 0.35 * time_s)
        sound += 0.08 * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE)
    elif event == "dog":
        for bark in range(3):
            after_s = time_s - start_s - 0.5 * bark
            envelope = np.where(after_s > 0, np.exp(-after_s * 18), 0)
            sound += 0.3 * envelope * np.sin(2 * np.pi * (700 - 900 * np.clip(after_s, 0, 0.3)) * time_s)
    return sound


def coloured_noise(rng: np.random.Generator, n_samples: int, low_hz: float, high_hz: float) -> Samples:
    """Noise of unit variance between two frequencies, falling with frequency as traffic does."""
    hz = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE)
    gain = np.where((hz >= low_hz) & (hz <= high_hz), 1 / np.sqrt(np.maximum(hz, 1)), 0)
    noise = np.fft.irfft(gain * np.fft.rfft(rng.normal(size=n_samples)), n_samples)
    return np.asarray(noise / noise.std())


if __name__ == "__main__":
    main()
