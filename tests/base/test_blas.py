"""Our matrix products take one thread, and other people's numpy has its own again afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sonyc_ml.base.blas import one_blas_thread

threadpool_info = pytest.importorskip("threadpoolctl", reason="threadpoolctl comes with scikit-learn").threadpool_info

COUNT = "max(pool['num_threads'] for pool in threadpool_info() if pool['user_api'] == 'blas')"
PROGRAM = f"""
import numpy as np
from threadpoolctl import threadpool_info
threads = lambda: {COUNT}
import sonyc_ml.base.process as process
process.use_one_thread_a_worker()
before = threads()
from sonyc_ml.base.blas import one_blas_thread
with one_blas_thread():
    within = threads()
print(before > 1, within, threads() == before)
"""


def n_threads() -> int:
    """How many threads numpy's products take now."""
    return max(int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas")


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: there is nothing to limit")
def test_numpy_that_was_imported_first() -> None:
    """It is limited for as long as ours is computed, and restored; no environment variable is needed."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert done.stdout == "True 1 True\n"


def test_limits_that_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one to leave restores what the first one found, whatever their order."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = n_threads()
    inside, leave_first = threading.Barrier(2), threading.Event()

    def first() -> int:
        with one_blas_thread():
            inside.wait(10)
            leave_first.wait(10)
        return n_threads()

    def second() -> int:
        with one_blas_thread():
            inside.wait(10)
            leave_first.set()
            return n_threads()

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(first), pool.submit(second)
        assert two.result(20) == 1
        one.result(20)
    assert n_threads() == before


def test_a_failure_restores_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises inside leaves numpy as it was."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    before = n_threads()
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError
    assert n_threads() == before
