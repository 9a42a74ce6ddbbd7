"""A batch on a Dask cluster of this machine, one of whose workers is killed."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import environments
from batch_faults import contents
from batch_speed import check_whole
from embedding import Embed, run
from figures import progress
from recordings import tiny
from workers import WorkerError

N_RECORDINGS, N_BEFORE_KILL = 400, 100
START_S, STOP_S = 60.0, 10.0
TEMPORARY = ".tmp"  # what a worker was writing when it was killed
HOST = ("--host", "127.0.0.1")


def measure(network: Path, work: Path) -> dict[str, Any]:
    """Embed on a scheduler with two workers, kill one midway, and compare with what is embedded here.

    Raises
    ------
    WorkerError
        There is no Dask, or it does not start.
    """
    folder = tiny(N_RECORDINGS, work / "cluster")
    progress("batch: Dask")
    check_whole(run(folder, network, work / "local_output", ("--workers", "2")))
    with ExitStack() as stack:
        place = work / "scheduler.json"
        flags = (*HOST, "--port", "0", "--no-dashboard", "--scheduler-file", str(place))
        scheduler = stack.enter_context(_started("dask_scheduler", flags))
        address = _address(place, scheduler)
        flags = (address, *HOST, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(work))
        workers = [stack.enter_context(_started("dask_worker", flags)) for _ in range(2)]
        _wait_for_both(address, workers)
        embed = stack.enter_context(Embed(folder, network, work / "cluster_output", ("--scheduler", address)))
        for number, _ in enumerate(embed.events(), 1):
            if number == N_BEFORE_KILL:
                workers[0].kill()
        outcome = embed.finish()
    here, there = contents(work / "local_output"), contents(work / "cluster_output")
    different = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    began = outcome.events[0] if outcome.events else {}
    return {
        "status": outcome.status,
        "said": outcome.said.strip().splitlines()[-1:],
        "n_workers": began.get("n_workers", 0),
        "n_embedded": len({event["recording"] for event in outcome.named("embedded")}),
        "n_recordings": N_RECORDINGS,
        "different": [name for name in different if not name.endswith(TEMPORARY)],
        "left": [name for name in different if name.endswith(TEMPORARY)],
        "elapsed_s": outcome.elapsed_s,
    }


@contextmanager
def _started(module: str, flags: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask's, as long as it is needed."""
    with tempfile.TemporaryFile() as log:
        command = [environments.ours(), "-m", f"distributed.cli.{module}", *flags]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environments.variables()
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(place: Path, scheduler: subprocess.Popen[bytes]) -> str:
    """The address of a scheduler, once it has written it down."""
    import json

    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and scheduler.poll() is None:
        try:
            return str(json.loads(place.read_text())["address"])
        except (OSError, ValueError):
            time.sleep(0.05)
    raise WorkerError("a batch on Dask: its scheduler does not start; is distributed installed?")


def _wait_for_both(address: str, workers: list[subprocess.Popen[bytes]]) -> None:
    from distributed import Client

    with Client(address, timeout=START_S, set_as_default=False) as client:
        client.wait_for_workers(len(workers), timeout=START_S)
