"""What TensorFlow's own front ends make of a second of sound; needs tensorflow, and writes the .npz beside itself.

python tests/support/data/spectra/tensorflow_reference.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def signal() -> npt.NDArray[np.int16]:
    """A chirp in noise, as 16-bit samples at 16 kHz."""
    t = np.arange(16000) / 16000
    chirp = 0.3 * np.sin(2 * np.pi * (100 + 3000 * t) * t)
    noise = np.random.default_rng(7).normal(0, 0.02, 16000)
    return np.round((chirp + noise).astype(np.float32) * 32767).clip(-32768, 32767).astype(np.int16)


def main() -> None:
    """Compute the features of each family, and write them."""
    import tensorflow as tf
    from tensorflow.lite.experimental.microfrontend.python.ops import audio_microfrontend_op as micro

    y = signal()
    x = tf.constant((y / np.float32(32768)).astype(np.float32))
    yamnet = tf.abs(tf.signal.stft(x[:15600], 400, 160, 512))
    yamnet = yamnet @ tf.signal.linear_to_mel_weight_matrix(64, 257, 16000, 125.0, 7500.0)
    keywords = tf.abs(tf.signal.stft(x, 480, 320, fft_length=None, window_fn=tf.signal.hann_window))
    keywords = keywords @ tf.signal.linear_to_mel_weight_matrix(40, 257, 16000, 20.0, 4000.0)
    cepstra = tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(keywords + 1e-6))
    bins = tf.square(tf.abs(tf.signal.stft(x, 480, 320, 512, window_fn=tf.signal.hamming_window)))
    how: dict[str, Any] = {"sample_rate": 16000, "window_size": 30, "window_step": 20, "num_channels": 40}
    loud = (20 * y.astype(np.int32)).clip(-32768, 32767).astype(np.int16)
    np.savez_compressed(
        Path(__file__).with_suffix(".npz"),
        y=y,
        yamnet=tf.math.log(yamnet + 0.001).numpy(),
        mlperf_kws=cepstra[:, :10].numpy(),
        power_of_bins=bins[::12].numpy(),
        micro_speech=micro.audio_microfrontend(tf.constant(y), enable_pcan=True, **how).numpy(),
        micro_without_pcan=micro.audio_microfrontend(tf.constant(y), enable_pcan=False, **how).numpy(),
        micro_loud=micro.audio_microfrontend(tf.constant(loud), enable_pcan=True, **how).numpy(),
        micro_faint=micro.audio_microfrontend(tf.constant(y // 300), enable_pcan=True, **how).numpy(),
        version=np.array(tf.__version__),
    )


if __name__ == "__main__":
    main()
