"""A model in a process of its own does what one in this process does, and its end is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sonyc_ml
from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring import make as maker
from sonyc_ml.client import RemoteModel, spawn
from sonyc_ml.errors import AssumedSampleRateWarning, LostModelError, MissingBundleError, RestartedModelWarning
from sonyc_ml.model import Model
from tests.conftest import PATIENCE_S, ROOT
from tests.support import networks

SR = 8000
Y = np.random.default_rng(3).normal(0, 0.1, 2 * SR + 77).astype(np.float32)
LONG = np.tile(Y, 200)  # minutes, so that a process can be killed while it computes


@pytest.fixture(scope="module")
def remote(tiny_bundle: Path) -> Iterator[RemoteModel]:
    """One process for the tests that do it no harm."""
    with spawn(tiny_bundle) as model:
        yield model


@pytest.fixture(scope="module")
def local(tiny_bundle: Path) -> Model:
    return sonyc_ml.load_model(tiny_bundle)


def is_running(pid: int) -> bool:
    """Whether there is such a process, a zombie too."""
    return Path(f"/proc/{pid}").exists()


def wait_until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait for something that will come."""
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.parametrize("sr", [SR, 44100])
@pytest.mark.parametrize("hop_size", [None, 0.25, np.float32(0.5)])
def test_the_same_numbers(remote: RemoteModel, local: Model, sr: int, hop_size: float | None) -> None:
    """Arrays are those of a model in this process, bit for bit, of the same types, and one's own to change."""
    sounds: list[Any] = [Y, Y.astype(np.float64)[::-1], Y[:1], LONG[:600_000]]
    for y in sounds:
        ours, theirs = remote.get_outputs(y, sr, hop_size), local.get_outputs(y, sr, hop_size)
        assert list(ours) == list(theirs)
        for kind, array in theirs.items():
            np.testing.assert_array_equal(ours[kind], array)
            assert (ours[kind].dtype, ours[kind].flags.writeable) == (array.dtype, True)
        np.testing.assert_array_equal(remote.get_embedding(y, sr, hop_size=hop_size), theirs["embedding"])


BAD_CALLS: list[tuple[Any, ...]] = [
    (Y[:0], SR),
    (Y.reshape(1, -1), SR),
    (np.array([0.0, np.nan], np.float32), SR),
    (np.array([3e6], np.float32), SR),
    (Y.astype(np.int16), SR),
    ("sound", SR),
    (None, SR),
    (Y, 0),
    (Y, -8000),
    (Y, 8000.5),
    (Y, "8000"),
    (Y, SR, 0.0),
    (Y, SR, -1),
    (Y, SR, "0.1"),
]


@pytest.mark.parametrize("arguments", BAD_CALLS, ids=repr)
def test_the_same_exceptions(remote: RemoteModel, local: Model, arguments: tuple[Any, ...]) -> None:
    """What is wrong with a call is said as in this process, and harms nobody."""
    pid = remote.pid
    try:
        local.get_outputs(*arguments)
    except Exception as error:  # noqa: BLE001
        expected: Exception | None = error
    else:
        expected = None
    if expected is None:
        remote.get_outputs(*arguments)
    else:
        with pytest.raises(type(expected)) as found:
            remote.get_outputs(*arguments)
        assert (type(found.value), str(found.value)) == (type(expected), str(expected))
    assert len(remote.get_embedding(Y, SR)) == 12
    assert remote.pid == pid


def test_it_says_what_it_is(remote: RemoteModel, local: Model) -> None:
    """Its labels, outputs, windows and description are the model's."""
    extractor = local.extractor
    assert (remote.outputs, remote.labels) == (tuple(local.outputs), local.labels)
    expected = (extractor.sample_rate, extractor.window_size_s, extractor.hop_size_s)
    assert (remote.sample_rate, remote.window_size_s, remote.hop_size_s) == expected
    assert repr(local) in repr(remote)


def test_a_sample_rate_that_is_assumed_is_said_once(tiny_bundle: Path) -> None:
    """Without a rate the model's own is taken, with the warning that there is in this process, at the caller's line."""
    local = sonyc_ml.load_model(tiny_bundle)
    with spawn(tiny_bundle) as remote, warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for model in (remote, local, remote, local):
            assert len(model.get_embedding(Y)) == 12
    assert {warning.category for warning in given} == {AssumedSampleRateWarning}
    assert len(given) == 2
    assert str(given[0].message) == str(given[1].message)
    assert given[0].filename == given[1].filename == __file__


def test_keywords_are_those_of_load_model(tiny_bundle: Path) -> None:
    """They reach it; what it refuses is raised here, and nothing is left."""
    n_threads = threading.active_count()
    with spawn(tiny_bundle, hop_size=1.0, golden="never") as remote:
        assert remote.hop_size_s == 1.0
    with pytest.raises(MissingBundleError, match=r"nowhere\.tflite"):
        spawn(tiny_bundle.with_name("nowhere.tflite"))
    with pytest.raises(ValueError, match="golden 'sometimes' is not known"):
        spawn(tiny_bundle, golden="sometimes")
    with pytest.raises(TypeError, match="no colour"):
        spawn(tiny_bundle, colour="red")
    with pytest.raises(TypeError, match="JSON"):
        spawn(tiny_bundle, cache=object())
    assert threading.active_count() <= n_threads


def test_a_process_that_dies_is_begun_again(tiny_bundle: Path) -> None:
    """Killed between two calls: the next one is told so by a warning, and has its numbers."""
    with spawn(tiny_bundle) as model:
        expected, pid = model.get_embedding(Y, SR), model.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid))  # nobody has asked, and it is no zombie
        with pytest.warns(
            RestartedModelWarning, match=r"was ended by SIGKILL while it computed 2\.0 s of sound"
        ) as given:
            np.testing.assert_array_equal(model.get_embedding(Y, SR), expected)
        assert given[0].filename == __file__
        assert model.pid != pid


def kill_whoever_computes(model: RemoteModel, n_times: int) -> float:
    """Kill a model's process as often as it is begun, within a call; return when that was last (in seconds)."""
    pids: set[int] = set()
    killed_s = 0.0
    while len(pids) < n_times:
        pid = model.pid
        if pid and pid not in pids:
            os.kill(pid, signal.SIGSEGV)
            killed_s = time.monotonic()
            pids.add(pid)
        time.sleep(0.001)
    return killed_s


def test_a_process_that_dies_twice_is_an_error(tiny_bundle: Path) -> None:
    """The error names the signal and what it computed, at once; the next call finds a new process."""
    with spawn(tiny_bundle) as model, ThreadPoolExecutor(1) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", RestartedModelWarning)
        killing = pool.submit(kill_whoever_computes, model, 2)
        with pytest.raises(LostModelError, match=r"was ended by SIGSEGV while it computed 40\d\.9 s of sound"):
            model.get_embedding(LONG, SR)
        assert time.monotonic() - killing.result() < 1.0
        assert len(model.get_embedding(Y, SR)) == 12


def test_a_process_that_hangs_is_an_error(tiny_bundle: Path) -> None:
    """One that gives no sign of life is ended, in the middle of a call or before it has taken anything."""
    with spawn(tiny_bundle, timeout_s=0.5) as model:
        for y in (Y[:800], Y):
            os.kill(model.pid, signal.SIGSTOP)
            pid = model.pid
            with pytest.raises(
                LostModelError, match=r"gave no sign of life for [0-9.]+ s while it computed .* by SIGKILL"
            ):
                model.get_embedding(y, SR if len(y) < 1000 else 800_000)
            assert not is_running(pid)
            assert len(model.get_embedding(Y[:800], SR)) == 1


def test_nothing_is_left(tiny_bundle: Path) -> None:
    """Neither process nor zombie, thread nor descriptor; closing twice is closing; a closed model says so."""
    descriptors, threads = set(os.listdir("/proc/self/fd")), set(threading.enumerate())
    model = spawn(tiny_bundle)
    pid = model.pid
    model.close()
    model.close()
    assert not is_running(pid)
    assert set(os.listdir("/proc/self/fd")) <= descriptors  # what earlier tests left may be closed meanwhile
    assert set(threading.enumerate()) <= threads
    with pytest.raises(ValueError, match="is closed"):
        model.get_embedding(Y, SR)
    model = spawn(tiny_bundle)
    pid = model.pid
    del model  # without closing it
    wait_until(lambda: not is_running(pid))


PARENT = """
import sys, threading, time
from sonyc_ml.client import spawn
def begin():
    global model
    model = spawn(sys.argv[1])
thread = threading.Thread(target=begin)
thread.start()
thread.join()
time.sleep(float(sys.argv[2]))
print(model.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_it_ends_with_the_process_that_began_it(tiny_bundle: Path, stopped: bool) -> None:
    """It does not end with the thread that called spawn, and does with its process: killed, and it itself hanging."""
    command = [sys.executable, "-c", PARENT, str(tiny_bundle), "0.2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        assert os.getpgid(pid) != os.getpgid(parent.pid)  # Ctrl-C is for the parent
        parent.kill()
    wait_until(lambda: not is_running(pid) or " Z " in Path(f"/proc/{pid}/stat").read_text())


def test_several_threads(remote: RemoteModel) -> None:
    """They take turns: each has the numbers of its own sound."""
    sounds = [Y[: 4000 + 100 * i] for i in range(12)]
    expected = [remote.get_embedding(y, SR) for y in sounds]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda y: remote.get_embedding(y, SR), sounds))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


TALKATIVE = """
import numpy

def get_features(y, sr, hop_size=None):
    print("computing", flush=True)
    if y[0] == 0.5:
        raise KeyError("band")
    n_windows = max(1, 1 + (len(y) - sr) // round((hop_size or 0.1) * sr))
    return numpy.zeros((n_windows, 64, 51, 1), numpy.float32)
"""


def test_what_an_extractor_prints_and_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a function of the user's own prints is no answer, and what it raises is raised here."""
    Path(tmp_path, "talkative.py").write_text(TALKATIVE)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "own.tflite"
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    exporter.export_function(path.with_suffix(".pkl"), "talkative:get_features")
    maker.make_bundle(path)
    with spawn(path) as model:
        assert len(model.get_embedding(Y, SR)) == 11
        with pytest.raises(sonyc_ml.errors.RecordingError, match=r"failed on it \(KeyError: 'band'\)"):
            model.get_embedding(np.full(SR, 0.5, np.float32), SR)
        assert len(model.get_embedding(Y, SR)) == 11


def test_importing_it_needs_neither_numpy_nor_a_runtime() -> None:
    """What a recorder imports is small."""
    program = (
        "import sys, sonyc_ml.client; print(*{'numpy', 'ai_edge_litert', 'soundfile', 'subprocess'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
