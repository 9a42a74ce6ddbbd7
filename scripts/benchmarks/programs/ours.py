"""Worker: sonyc_ml's road on one backend, its stages one by one, and the bare network around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.serving import serve, settings, timed
from sonyc_ml.base.process import keep_freed_memory, use_one_thread_a_worker

# As the command line does, before numpy is imported.
use_one_thread_a_worker()
keep_freed_memory()

import numpy as np  # noqa: E402

from sonyc_ml.features import make_resampler  # noqa: E402
from sonyc_ml.model import Model  # noqa: E402
from sonyc_ml.model.loading import load_model  # noqa: E402
from sonyc_ml.model.runtime import BACKENDS  # noqa: E402
from sonyc_ml.outputs.files import write_output  # noqa: E402
from sonyc_ml.sound.files import open_recording  # noqa: E402


def main() -> None:
    """Serve ``road``, ``stages``, ``bare`` and ``count``."""
    given = settings()
    bench = Bench(load_model(given["network"], **given["parameters"]), Floor(given["network"], **given["parameters"]))
    actions: dict[str, Callable[..., dict[str, Any]]] = {"road": bench.road, "stages": bench.stages}
    actions |= {"bare": bench.bare, "count": bench.count}
    serve({"backend": bench.model.interpreter.backend}, actions)


class Floor:
    """The network and nothing else, in an interpreter of its own: what no road can be faster than."""

    def __init__(
        self, network: str, backend: str = "litert", num_threads: int = 1, *, reference_kernels: bool = False
    ) -> None:
        runtime = __import__(f"{BACKENDS[backend]}.interpreter", fromlist=["Interpreter"])
        resolvers = runtime.OpResolverType
        self._interpreter = runtime.Interpreter(
            model_path=network,
            num_threads=num_threads,
            experimental_op_resolver_type=(
                resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if reference_kernels else resolvers.AUTO
            ),
        )
        self._interpreter.allocate_tensors()

    def run(self, n_windows: int) -> float:
        """Invoke the network so many times; returns how long that took (in milliseconds)."""
        invoke = self._interpreter.invoke
        start_s = time.perf_counter()
        for _ in range(n_windows):
            invoke()
        return (time.perf_counter() - start_s) * 1e3


class Bench:
    """What the parent asks for."""

    def __init__(self, model: Model, floor: Floor) -> None:
        self.model, self._floor = model, floor
        self._resampler: Any = None

    def road(self, recording: str, output: str) -> dict[str, Any]:
        """Embed a recording, with half of the bare network before it and half behind: drift takes both alike."""
        n_windows = self._n_windows(recording)
        before_ms = self._floor.run(n_windows // 2)
        start_s = time.perf_counter()
        self.model.process_file(recording, output)
        road_ms = (time.perf_counter() - start_s) * 1e3
        after_ms = self._floor.run(n_windows - n_windows // 2)
        return {"road_ms": road_ms, "floor_ms": before_ms + after_ms, "n_windows": n_windows}

    def stages(self, recording: str, output: str) -> dict[str, Any]:
        """The pieces of the road, one after the other, each on the whole recording."""
        stages: dict[str, float] = {}
        model = self.model
        embedded = model.embed_file(recording)
        with timed(stages, "read"), open_recording(recording) as sound:
            blocks = list(sound.blocks())
            with timed(stages, "hash"):
                sound.sha256()
        stages["read"] -= stages["hash"]
        with timed(stages, "resample"):
            blocks, sr = self._resampled(blocks, sound.sample_rate, sound.n_samples)
        y = np.concatenate(blocks)
        with timed(stages, "features"):
            features = np.concatenate(list(model.extractor.stream([y], sr, len(y))))
        with timed(stages, "invoke"):
            model.interpreter(features)
        with timed(stages, "write"):
            write_output(embedded, Path(output))
        return {"stages": stages}

    def bare(self, n_windows: int) -> dict[str, Any]:
        """Nothing but the bare network: how long it takes, and how much of it on a processor."""
        start_s = time.process_time()
        floor_ms = self._floor.run(n_windows)
        return {"floor_ms": floor_ms, "processor_ms": (time.process_time() - start_s) * 1e3}

    def count(self, recording: str) -> dict[str, Any]:
        """How many windows a recording has."""
        return {"n_windows": self._n_windows(recording)}

    def _resampled(self, blocks: list[Any], sr: int, n_samples: int) -> tuple[list[Any], int]:
        """Blocks at the extractor's sample rate; as they are where it resamples by means of its own, unseen."""
        extractor = self.model.extractor
        if not extractor.res_type or sr == extractor.sample_rate:
            return blocks, sr
        if self._resampler is None or self._resampler.sr != sr:
            self._resampler = make_resampler(sr, extractor.sample_rate, extractor.res_type)
        return list(self._resampler.stream(blocks, n_samples)), extractor.sample_rate

    def _n_windows(self, recording: str) -> int:
        with open_recording(recording) as sound:
            return self.model.extractor.framing(sound.n_samples, sound.sample_rate).n_windows


if __name__ == "__main__":
    main()
