"""What the tests share: where the real data lie, and what must not leak from one test to the next."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import strategies as st

from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring import make as maker
from sonyc_ml.bundles.manifest import Manifest
from sonyc_ml.bundles.sections import Input
from tests.support import networks
from tests.support.command import run_ssh_keygen
from tests.support.watching import StartWatch, Watch

# How fast a machine is, is no property of the code: no example has a deadline, and none is too slow to be made.
hypothesis.settings.register_profile("usual", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile(  # --hypothesis-profile=few: where a processor is emulated
    "few", hypothesis.settings.get_profile("usual"), max_examples=10
)
hypothesis.settings.load_profile("usual")

ROOT = Path(__file__).resolve().parent.parent
# A test that waits so long for something has failed. No bar for how long it should take: many times that, anywhere.
PATIENCE_S = 120.0
USUAL_START_S = 0.3  # of Python with numpy and the commands
SHARED_DATA = ROOT.parent / "shared" / "data"
# What ``--quick`` leaves out as a whole: the long way round, the originals, pictures, and what needs a service.
SLOW = {
    "client",
    "journeys",
    "parity",
    "analysis/test_plots.py",
    "batch/test_dask.py",
    "batch/test_remote.py",
    "batch/test_run.py",
    "bundles/test_golden.py",
    "model/test_dtln.py",
    "model/test_kinds.py",
    "model/test_waveform.py",
    "node/test_mqtt.py",
    "outputs/test_cache.py",
    "web/page/test_browser.py",
    "web/page/test_examination.py",
    "web/page/test_pictured_browser.py",
}
SLOW_MARKS = ("timing", "service", "librosa", "long", "x86")
# What takes longest begins first: else one processor has it at the end, and the others nothing.
LONGEST = (
    *("journeys/test_docs.py", "test_features.py", "batch/test_run.py", "authoring/test_make.py"),
    *("cli/test_separate.py", "journeys/test_daemon.py", "bundles/test_trust.py", "batch/test_dask.py"),
    *("journeys/test_wheels.py", "cli/test_embed.py", "authoring/test_export.py", "analysis/test_plots.py"),
    *("batch/test_remote.py", "bundles/test_integrity.py", "model/test_long.py", "node/test_worker.py"),
)
# Where the processes that a test starts are not measured for coverage, which makes each take half as long again: what
# others start runs the same code.
UNMEASURED = (
    *("analysis/", "authoring/", "bundles/", "model/test_long", "parity/", "web/page/test_browser"),
    *("journeys/test_containerfile", "journeys/test_docs", "journeys/test_networks"),
    *("journeys/test_questions_page", "journeys/test_smoke", "journeys/test_wheels"),
)
TFLITE_RUNTIME = ROOT / ".venv-tflite-runtime" / "bin" / "python"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--quick``: the choice of ``scripts/test quick``."""
    parser.addoption("--quick", action="store_true", help="no processes, services, pictures, oracle, librosa or times")


def refuse_processes(event: str, _arguments: tuple[object, ...]) -> None:
    """Skip the test that starts a process."""
    if event in {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.system"}:
        pytest.skip("it starts a process")


@pytest.fixture(scope="session", autouse=True)
def _no_processes(request: pytest.FixtureRequest) -> None:
    """With ``--quick`` a test that starts a process is skipped at that moment."""
    if request.config.getoption("--quick"):
        sys.addaudithook(refuse_processes)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first; with ``--quick`` leave out what takes long."""
    items.sort(key=turn)  # files stay together: it is stable
    slow = [item for item in items if is_slow(item)] if config.getoption("--quick") else []
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]


def below_tests(path: Path) -> str:
    """The name of a file of tests by its path in ``tests/``; its path where it is elsewhere."""
    return path.relative_to(ROOT / "tests").as_posix() if ROOT / "tests" in path.parents else path.as_posix()


def turn(item: pytest.Item) -> int:
    """When the file of a test has its turn."""
    name = below_tests(item.path)
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``--quick`` what is slow as a whole is not even imported; None leaves others to decide."""
    return True if config.getoption("--quick") and below_tests(collection_path) in SLOW else None


def is_slow(item: pytest.Item) -> bool:
    """Whether a test is left out of the quick ones."""
    fixtures: set[str] = set(getattr(item, "fixturenames", ()))
    return bool({"sonyc_bundle", "street", "watch"} & fixtures) or any(map(item.get_closest_marker, SLOW_MARKS))


def require_shared(relative: str) -> Path:
    """Path below the shared data; skips the test, saying so, where it is absent."""
    path = SHARED_DATA / relative
    if not path.exists():
        pytest.skip(f"shared/data/{relative} is not beside this check-out")
    return path


def examples(n: int) -> hypothesis.settings:
    """So many examples for a property, or as few as the profile asks for."""
    return hypothesis.settings(max_examples=max(2, n * hypothesis.settings().max_examples // 100))


def floats(low: float | None = None, high: float | None = None, **options: Any) -> st.SearchStrategy[float]:
    """Any floats; on 32-bit ARM no subnormal ones, which tflite-runtime's library turns to zero in its process."""
    return st.floats(low, high, allow_subnormal=False if platform.machine() == "armv7l" else None, **options)


def needs(package: str) -> pytest.MarkDecorator:
    """Skip where an extra is not installed, as on a node."""
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test has logged of a name that is not UTF-8 goes to another process as UTF-8."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture(scope="session")
def sonyc_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SONYC's own network with our extractor exported beside it."""
    network = require_shared("models/quantized_default_int8.tflite")
    folder = tmp_path_factory.mktemp("models")
    path = Path(shutil.copy(network, folder))
    exporter.export(path.with_suffix(".pkl"))
    maker.make_bundle(path)
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of a few numbers with our extractor, for what does not depend on the network."""
    path = tmp_path_factory.mktemp("models") / "tiny.tflite"
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    exporter.export(path.with_suffix(".pkl"))
    maker.make_bundle(path)
    return path


def vouch(network: Path, kind: str = "pickled", window_size_s: float = 1.0) -> Path:
    """Write the least of a manifest for a network and the pickle beside it, and accept them; nothing is run."""
    paths = [path for path in (network, network.with_suffix(".pkl")) if path.exists()]
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    manifest = Manifest(1, network.stem, "1.0.0", 8000, window_size_s, 0.1, Input(kind), files)
    network.with_suffix(".json").write_text(manifest.text())
    maker.trust(network)
    return network


@pytest.fixture(scope="module", autouse=True)
def _measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of some files, coverage is measured in the tests' own process alone."""
    with pytest.MonkeyPatch.context() as patch:
        if below_tests(request.path).startswith(UNMEASURED):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _umask() -> Iterator[None]:
    """Files are made as on most machines: a bundle that its group can write is refused, and has tests of its own."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of bundles stays in the tests' own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SONYC's recordings."""
    return require_shared("recordings")


@pytest.fixture(scope="session")
def slowness() -> float:
    """How many times slower than where the bars in seconds were set this machine is, as loaded as it is; at least 1."""
    durations_s = []
    for _ in range(3):
        start_s = time.monotonic()
        subprocess.run([sys.executable, "-c", "import sonyc_ml.cli, numpy"], check=True, cwd=ROOT)
        durations_s.append(time.monotonic() - start_s)
    return max(1.0, min(durations_s) / USUAL_START_S)


@pytest.fixture
def noise() -> npt.NDArray[np.float32]:
    """Two seconds of faint noise at 8 kHz."""
    return np.random.default_rng(7).normal(0, 0.01, 16000).astype(np.float32)


def write_recording(path: Path, seconds: float = 1.0, sample_rate: int = 8000, seed: int = 0) -> Path:
    """Write faint noise, and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.01, round(seconds * sample_rate))
    soundfile.write(path, samples, sample_rate)
    return path


@pytest.fixture(autouse=True)
def _no_thread_leaks() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    for thread in left:  # one that was told to end may need a moment on a busy machine
        thread.join(5)
    left = {thread for thread in left if thread.is_alive()}
    assert not left, f"the test left threads running: {left}"


@pytest.fixture
def watch(tmp_path: Path, tiny_bundle: Path) -> Iterator[StartWatch]:
    """Start the daemon on ``recordings`` of the test's folder; it is ended with the test."""
    running: list[Watch] = []
    folder, output = tmp_path / "recordings", tmp_path / "out"
    folder.mkdir()

    def start(*flags: object, model: Path | None = tiny_bundle, text: str | None = None) -> Watch:
        """With flags for folder, model and output, or with `text` in the place of the model's flag as its file."""
        if text is not None:
            head = f'[spool]\nfolder = "{folder}"\n[output]\nfolder = "{output}"\n'
            (tmp_path / "sonyc-ml.toml").write_text(head + text)
            flags = ("--config", tmp_path / "sonyc-ml.toml", *flags)
        else:
            flags = (folder, "--output", output, *flags)
        running.append(Watch(folder, output, *flags, *(("--model", model) if model else ())))
        running[-1].wait_for_line("watching")
        return running[-1]

    yield start
    for daemon in running:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys: ours and theirs, with .pub each."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed: apt-get install openssh-client")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        run_ssh_keygen("-t", "ed25519", "-N", "", "-C", f"{name} of the tests", "-f", folder / name)
    run_ssh_keygen("-t", "rsa", "-N", "", "-f", folder / "rsa")
    return folder
