"""Worker: the original algorithm as one would write it down with librosa, window by window."""

from __future__ import annotations

import importlib
import time
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt

from scripts.benchmarks.programs.serving import serve, settings, timed

Floats = npt.NDArray[np.float32]


def main() -> None:
    """Serve ``road``."""
    given = settings()
    runtime = importlib.import_module(f"{given['runtime']}.interpreter")
    interpreter = runtime.Interpreter(model_path=given["network"], num_threads=1)
    interpreter.allocate_tensors()
    if interpreter.get_input_details()[0]["dtype"] != np.float32:
        raise SystemExit("the original algorithm feeds float32 to the network, and this one reads something else")

    def road(recording: str, output: str) -> dict[str, Any]:
        stages: dict[str, float] = {}
        start_s = time.perf_counter()
        n_windows = embed(recording, output, interpreter, given["parameters"], stages)
        return {"road_ms": (time.perf_counter() - start_s) * 1e3, "n_windows": n_windows, "stages": stages}

    serve({}, {"road": road})


def embed(path: str, output: str, interpreter: Any, parameters: dict[str, Any], stages: dict[str, float]) -> int:
    """Embed one recording; returns how many windows it has."""
    rate = parameters["target_sr"]
    with timed(stages, "read"):
        y, sr = librosa.load(path, sr=None)
    with timed(stages, "resample"):
        y = librosa.resample(y, orig_sr=sr, target_sr=rate, res_type=parameters["res_type"])
    with timed(stages, "features"):
        features = log_mel(y, parameters)
    with timed(stages, "invoke"):
        embedding = np.array([invoke(interpreter, window) for window in features])
    with timed(stages, "write"):
        np.savez(output, embedding=embedding, timestamps=np.arange(len(embedding)) * parameters["hop_size"])
    return len(embedding)


def log_mel(y: Floats, parameters: dict[str, Any]) -> Floats:
    """Log-mel features of every window, each computed as if it were alone."""
    rate = parameters["target_sr"]
    window_length, hop_length = round(parameters["duration"] * rate), round(parameters["hop_size"] * rate)
    y = centre_padded(y, window_length, hop_length)
    starts = range(0, len(y) - window_length + 1, hop_length)
    return np.array([log_mel_of_window(y[start : start + window_length], parameters) for start in starts])


def centre_padded(y: Floats, window_length: int, hop_length: int) -> Floats:
    """Zeros on both sides, so that whole windows cover everything."""
    n_hops = max(0, int(np.ceil((len(y) - window_length) / hop_length)))
    n_missing = n_hops * hop_length + window_length - len(y)
    return np.pad(y, (n_missing // 2, n_missing - n_missing // 2))


def log_mel_of_window(window: Floats, parameters: dict[str, Any]) -> Floats:
    """Levels of one window in dB, `(n_mels, n_frames)`."""
    spectrum = librosa.stft(
        window,
        n_fft=parameters["n_fft"],
        hop_length=parameters["mel_hop_len"],
        window="hann",
        center=True,
        pad_mode="constant",
    )
    mel = librosa.feature.melspectrogram(
        S=np.abs(spectrum),
        sr=parameters["target_sr"],
        n_mels=parameters["n_mels"],
        fmin=parameters["fmin"],
        fmax=parameters["fmax"],
        htk=True,
    )
    levels: Floats = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=80.0)
    return levels


def invoke(interpreter: Any, window: Floats) -> Floats:
    """What the network says of one window, `(n_dims,)`."""
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(source["index"], window.astype(np.float32).reshape(source["shape"]))
    interpreter.invoke()
    stored: Floats = interpreter.get_tensor(target["index"])[0]
    scale, zero_point = target["quantization"]
    return (stored.astype(np.float32) - zero_point) * np.float32(scale) if scale else stored


if __name__ == "__main__":
    main()
