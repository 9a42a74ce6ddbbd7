"""Worker: log-mel features alone, ours beside librosa's window by window, on the same samples."""

from __future__ import annotations

import time
from typing import Any

from scripts.benchmarks.programs.serving import serve, settings
from sonyc_ml.base.process import keep_freed_memory, use_one_thread_a_worker

use_one_thread_a_worker()
keep_freed_memory()

import numpy as np  # noqa: E402

from scripts.benchmarks.programs import original  # noqa: E402
from sonyc_ml.features import LogMel, make_resampler  # noqa: E402
from sonyc_ml.sound.files import read_recording  # noqa: E402


def main() -> None:
    """Serve ``compare``."""
    parameters = settings()["parameters"]
    extractor, rate = LogMel(**parameters), parameters["target_sr"]

    def compare(recording: str) -> dict[str, Any]:
        y, sr = read_recording(recording)
        if sr != rate:
            y = np.concatenate(list(make_resampler(sr, rate, extractor.res_type).stream([y], len(y))))
        start_s = time.perf_counter()
        ours = extractor(y, rate)
        middle_s = time.perf_counter()
        theirs = original.log_mel(y, parameters)
        end_s = time.perf_counter()
        return {
            "ours_ms": (middle_s - start_s) * 1e3,
            "librosa_ms": (end_s - middle_s) * 1e3,
            "difference_db": float(np.abs(ours - theirs).max()),
        }

    serve({}, {"compare": compare})


if __name__ == "__main__":
    main()
