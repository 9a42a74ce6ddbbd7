"""The model of a daemon that runs answers calls as one in this process does, beside the recordings of its streams."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sonyc_ml
from sonyc_ml.client import connect
from sonyc_ml.errors import BundleError, ConfigError, LostModelError, ProtocolError, RestartedModelWarning
from sonyc_ml.outputs.files import read_output
from sonyc_ml.sound.live.formats import raw_layout
from sonyc_ml.sound.live.wyoming import EventReader, encode
from tests.conftest import PATIENCE_S, ROOT, examples
from tests.support.live import samples, write_wav

SR = 8000
Y = np.random.default_rng(3).normal(0, 0.1, 2 * SR + 77).astype(np.float32)


@contextmanager
def daemon(folder: Path, bundle: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that listens at ``a.sock`` in a folder."""
    (folder / "a.toml").write_text(
        f'[model]\npath = "{bundle}"\n[output]\nfolder = "{folder}/out"\n[listen]\nsegment_s = 0.5\nmax_buffer_s = 5\n'
        f'[[listen.source]]\nname = "street"\nsocket = "{folder}/a.sock"\n'
    )
    command = [sys.executable, "-m", "sonyc_ml", "watch", "--config", str(folder / "a.toml")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_there(folder / "a.sock") or process.poll() is not None)
            yield process
        finally:
            process.terminate()


def is_there(path: Path) -> bool:
    """Whether somebody takes connections."""
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(os.fspath(path)) == 0


def wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("daemon")
    with daemon(folder, tiny_bundle):
        yield f"unix:{folder}/a.sock"


def test_the_same_numbers_and_exceptions(address: str, tiny_bundle: Path) -> None:
    """Numbers are those of a model in this process, bit for bit; nothing is published of them."""
    local = sonyc_ml.load_model(tiny_bundle)
    with connect(address) as model, connect(address) as other:
        assert (model.labels, model.sample_rate, model.hop_size_s) == (local.labels, SR, 0.1)
        for remote in (model, other, model):
            for sr in (SR, 44100):
                ours, theirs = remote.get_outputs(Y, sr, 0.25), local.get_outputs(Y, sr, 0.25)
                assert list(ours) == list(theirs)
                for kind, array in theirs.items():
                    np.testing.assert_array_equal(ours[kind], array)
        with pytest.raises(ValueError, match="hop_size"):
            model.get_outputs(Y, SR, -1.0)
        with pytest.raises(ProtocolError, match=r"may have 5 s here \(listen\.max_buffer_s\), and this has 6 s"):
            model.get_embedding(np.zeros(6 * SR, np.float32), SR)
        assert len(model.get_embedding(Y, SR)) == 12
    assert not list(Path(address.removeprefix("unix:")).parent.glob("out/*.npz"))


def test_several_threads_and_connections(address: str) -> None:
    """Each has the numbers of its own sound."""
    found: dict[int, bool] = {}

    def ask(i: int) -> None:
        y = Y[: 4000 + 500 * i]
        with connect(address) as model:
            found[i] = all((model.get_embedding(y, SR) == model.get_embedding(y, SR)).all() for _ in range(5))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(6), True)


def test_streams_are_sources_and_are_published(address: str, tiny_bundle: Path, tmp_path: Path) -> None:
    """Segments are recordings of the daemon, with names and outputs; what comes back is published, and a file's."""
    local, folder = sonyc_ml.load_model(tiny_bundle), Path(address.removeprefix("unix:")).parent
    content = samples("S16_LE", 10_000, 2)
    with connect(address) as model:
        with model.stream(SR, 2, source="yard") as one, model.stream(SR, 1) as other:
            answers, others = one.send(content), other.send(content[:4000])
            assert len(model.get_embedding(Y, SR)) == 12  # meanwhile
            answers, others = answers + one.end(), others + other.end()
        with pytest.raises(ValueError, match="configuration says segment_s"):
            model.stream(SR, 1, segment_s=2.0)
    assert [answer.said["recording"].partition("_")[0] for answer in answers] == ["yard"] * 3
    assert [answer.said["recording"].partition("_")[0] for answer in others] == ["street"]
    for i, answer in enumerate(answers):
        path = write_wav(tmp_path / "a.wav", content[16_000 * i : 16_000 * (i + 1)], raw_layout(SR, "S16_LE", 2))
        published = read_output(folder / "out" / f"{answer.said['recording']}.npz")
        for found in (answer.outputs["embedding"], published.embedding):
            np.testing.assert_array_equal(found, local.embed_file(path).embedding)


@examples(30)
@given(data=st.data())
def test_nothing_that_is_sent_harms_the_daemon(address: str, data: st.DataObject) -> None:
    """Events that are cut short, empty, or contradict each other: the daemon answers the next one who comes."""
    n_samples = data.draw(st.one_of(st.none(), st.integers(-1, 50_000), st.text(max_size=3)))
    start = {"rate": 8000, "width": 4, "channels": 1, "format": "float", "n_samples": n_samples}
    start |= data.draw(
        st.dictionaries(st.sampled_from([*start, "hop_size", "is_shared", "source"]), st.integers(-2, 5))
    )
    pieces = {
        "start": encode("audio-start", start),
        "chunk": encode("audio-chunk", None, 4000) + bytes(4000),
        "stop": encode("audio-stop"),
        "describe": encode("describe"),
        "load": encode("load", {"path": "/nowhere"}),
    }
    content = b"".join(pieces[name] for name in data.draw(st.lists(st.sampled_from(sorted(pieces)), max_size=8)))
    content, waits = content[: data.draw(st.integers(0, len(content)))], data.draw(st.booleans())
    with socket.socket(socket.AF_UNIX) as connection, suppress(BrokenPipeError, ConnectionResetError):
        connection.connect(address.removeprefix("unix:"))
        connection.sendall(content)  # of what is no use, it may not wait for the rest, and hang up
        if waits:
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(PATIENCE_S)
            while connection.recv(65536):
                pass
    with connect(address) as model:
        assert len(model.get_embedding(Y[:800], SR)) == 1


def test_a_daemon_that_comes_again_and_one_that_does_not(tmp_path: Path, tiny_bundle: Path) -> None:
    """The connection is made again, with a warning; where nobody is there any more, that is said."""
    with daemon(tmp_path, tiny_bundle) as first:
        model = connect(f"unix:{tmp_path}/a.sock")
        expected = model.get_embedding(Y, SR)
        first.send_signal(signal.SIGKILL)
        first.wait()
    (tmp_path / "a.sock").unlink()
    with daemon(tmp_path, tiny_bundle), pytest.warns(RestartedModelWarning, match="has hung up while it computed"):
        np.testing.assert_array_equal(model.get_embedding(Y, SR), expected)
    with (
        pytest.warns(RestartedModelWarning, match="has hung up"),
        pytest.raises(LostModelError, match="nobody answers there"),
    ):
        model.get_embedding(Y, SR)
    model.close()


@pytest.mark.parametrize("address", ["", "unix:", "a.sock", "tcp:localhost:x", "udp:a:1"])
def test_addresses_that_are_none(address: str) -> None:
    """What an address is, is said."""
    with pytest.raises(ConfigError, match="unix:PATH or tcp:HOST:PORT"):
        connect(address)


def test_who_is_not_there(tmp_path: Path) -> None:
    """Nobody at a path, or a file that is no socket."""
    (tmp_path / "a.txt").write_text("")
    for name in ("nowhere", "a.txt"):
        with pytest.raises(LostModelError, match=f"{name}: nobody answers there"):
            connect(f"unix:{tmp_path / name}")


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError, "must be an object of JSON, not 'HTTP"),
        (encode("info", {"asr": []}), ProtocolError, "is no sonyc_ml"),
        (encode("info", {"sonyc_ml": None}), BundleError, "measures levels alone"),
        (b"", LostModelError, "has hung up while it said what it is, and, begun again, has hung up"),
    ],
)
@pytest.mark.filterwarnings("ignore::sonyc_ml.errors.RestartedModelWarning")
def test_others_that_answer(tmp_path: Path, answer: bytes, error: type[Exception], reason: str) -> None:
    """Another service at that address, or one that hangs up, is found out."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "a.sock"))
        listener.listen()

        def serve() -> None:
            for _ in range(1 if answer else 2):
                accepted, _ = listener.accept()
                with accepted:
                    assert next(EventReader().feed(accepted.recv(4096))).type == "describe"
                    accepted.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(error, match=reason):
            connect(f"unix:{tmp_path}/a.sock")
        thread.join()
