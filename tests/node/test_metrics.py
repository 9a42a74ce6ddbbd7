"""Collector for Prometheus: exact as text, served whatever clients do, and what the daemon did."""

from __future__ import annotations

import http.client
import logging
import math
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml import errors
from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import Config
from sonyc_ml.node.events import RecordingEnded, RecordingPostponed
from sonyc_ml.node.facts import DaemonFacts, Facts, FolderFacts, InputFacts, TroubleFacts
from sonyc_ml.node.journal.file import FILE_NAME
from sonyc_ml.node.journal.journal import OutputSummary
from sonyc_ml.node.telemetry import collector, exposition
from sonyc_ml.node.telemetry.collector import EventCounts, Throttled
from sonyc_ml.node.telemetry.exporter import write_textfile
from sonyc_ml.node.telemetry.exposition import CONTENT_TYPE, Family, Histogram, Server, render
from tests.conftest import PATIENCE_S, floats, write_recording
from tests.support.metrics import (
    PUBLISHED,
    Samples,
    collector_of,
    exporter_of,
    journal_of,
    make_config,
    parse,
    promtool,
)
from tests.support.watching import StartWatch

# The format, read strictly


def value(samples: Samples, name: str, /, **labels: str) -> float:
    """Of one sample."""
    return samples[f"sonyc_ml_{name}", tuple(labels.items())]


def test_the_text_is_exactly_the_format() -> None:
    """Labels are escaped, numbers are exact, a histogram has its buckets, and what has no sample is left out."""
    histogram = Histogram((0.5, 1))
    for seconds in (0.5, 0.6, 7):
        histogram.observe(seconds)
    families = [
        Family("a_total", "counter", 'It says "a\\b"\nand more.', [({"x": 'q"\\\n'}, 3), ({"x": ""}, 2.0)]),
        Family("b", "gauge", "Nothing."),
        Family("c", "gauge", "Odd.", [({}, math.inf)]),
        Family("d", "gauge", "Odd.", [({"y": "1"}, math.nan), ({"y": "2"}, -math.inf), ({"y": "3"}, 1.5e300)]),
        Family("h", "histogram", "Spread.", [({"s": "e"}, histogram)]),
    ]
    assert render(families).decode().splitlines() == [
        '# HELP a_total It says "a\\\\b"\\nand more.',
        "# TYPE a_total counter",
        'a_total{x="q\\"\\\\\\n"} 3',
        'a_total{x=""} 2',
        *("# HELP c Odd.", "# TYPE c gauge", "c +Inf", "# HELP d Odd.", "# TYPE d gauge"),
        *('d{y="1"} NaN', 'd{y="2"} -Inf', 'd{y="3"} 1.5e+300'),
        *("# HELP h Spread.", "# TYPE h histogram"),
        *('h_bucket{s="e",le="0.5"} 1', 'h_bucket{s="e",le="1"} 2', 'h_bucket{s="e",le="+Inf"} 3'),
        *('h_sum{s="e"} 8.1', 'h_count{s="e"} 3'),
    ]


@given(st.text(), floats(allow_nan=False))
def test_any_label_and_number_comes_back(label: str, number: float) -> None:
    """Whatever a name is made of, a reader gets it back, and the number to the last bit."""
    text = render([Family("a", "gauge", label or "a", [({"x": label}, number)])])
    assert parse(text) == {("a", (("x", label),)): number}


def test_names_that_are_not_utf_8_stay_different() -> None:
    """A bundle's file may be called anything."""
    names = [os.fsdecode(name) for name in (b"caf\xe9", b"caf\xe8")]
    read = parse(render([Family("a", "gauge", "A.", [({"x": name}, 1) for name in names])]))
    assert [labels for _, labels in read] == [(("x", "caf\\udce9"),), (("x", "caf\\udce8"),)]


# What is counted


def test_events_are_counted() -> None:
    """Each event moves its own figures, and nothing else."""
    counts = EventCounts(["tiny"], clock=lambda: 1000.0)
    for event in (
        PUBLISHED,
        RecordingEnded("a.wav", "done", lag_s=0.3, duration_s=10.0, salvaged=True),
        RecordingEnded("b.wav", "quarantined", "unreadable", "no sound"),
        RecordingEnded("c.wav", "shed", "too old", lag_s=99.0),
        RecordingPostponed("d.wav", "growing", "", 1.0),
        RecordingPostponed("d.wav", "something new", "", 1.0),
    ):
        counts.on_event(event)
    samples = parse(render(counts.families()))
    told = {key: number for key, number in samples.items() if number and "_bucket" not in key[0]}
    assert told == {
        ("sonyc_ml_recordings_total", (("state", "done"), ("reason", ""))): 1,
        ("sonyc_ml_recordings_total", (("state", "quarantined"), ("reason", "unreadable"))): 1,
        ("sonyc_ml_recordings_total", (("state", "shed"), ("reason", "too old"))): 1,
        ("sonyc_ml_postponed_total", (("reason", "growing"),)): 1,
        ("sonyc_ml_postponed_total", (("reason", "something new"),)): 1,
        ("sonyc_ml_embedded_seconds_total", ()): 10,
        ("sonyc_ml_salvaged_total", ()): 1,
        ("sonyc_ml_windows_total", (("bundle", "tiny"),)): 91,
        ("sonyc_ml_output_bytes_total", (("bundle", "tiny"),)): 1000,
        ("sonyc_ml_hop_size_seconds", (("bundle", "tiny"),)): 0.1,
        ("sonyc_ml_stage_duration_seconds_sum", (("bundle", "tiny"), ("stage", "embed"))): 0.02,
        ("sonyc_ml_stage_duration_seconds_count", (("bundle", "tiny"), ("stage", "embed"))): 1,
        ("sonyc_ml_stage_duration_seconds_sum", (("bundle", "tiny"), ("stage", "store"))): 0.004,
        ("sonyc_ml_stage_duration_seconds_count", (("bundle", "tiny"), ("stage", "store"))): 1,
        ("sonyc_ml_recording_lag_seconds_sum", ()): 0.3,
        ("sonyc_ml_recording_lag_seconds_count", ()): 1,
    }
    assert value(samples, "stage_duration_seconds_bucket", bundle="tiny", stage="embed", le="0.01") == 0
    assert value(samples, "stage_duration_seconds_bucket", bundle="tiny", stage="embed", le="0.025") == 1
    assert (counts.last_output_s, counts.last_found_s) == (1000.0, 999.7)


def test_every_reason_is_told_as_0_before_it_happens() -> None:
    """The first quarantine would not be seen to rise from nothing."""
    told = dict(collector.ENDS)
    kinds = (errors.RecordingError, errors.BundleError)
    assert {word for kind, word in errors.WORDS if issubclass(kind, kinds)} <= set(told["quarantined"])


def test_a_costly_question_is_asked_throttledly() -> None:
    """What took a second is asked again after a hundred."""
    times = iter((0.0, 1.0, 100.0, 101.0, 101.5, 102.0))
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    throttled = Throttled(ask, 0.01, lambda: next(times))
    assert [throttled() for _ in range(3)] == [1, 1, 2]


# A daemon of our own


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(os.fspath(self._path))


def scrape(where: int | Path, method: str = "GET", target: str = "/metrics") -> tuple[int, str | None, bytes]:
    """Status, content type and body."""
    made = UnixConnection(where) if isinstance(where, Path) else http.client.HTTPConnection("127.0.0.1", where, 10)
    with closing(made) as connection:
        connection.request(method, target)
        answer = connection.getresponse()
        body = answer.read()
        if method == "GET":
            assert int(answer.headers["Content-Length"]) == len(body)
        return answer.status, answer.headers["Content-Type"], body


def ask(where: int | Path, request: bytes) -> bytes:
    """All that comes back, as it comes."""
    family = socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(os.fspath(where) if isinstance(where, Path) else ("127.0.0.1", where))
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def wait_for(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_nothing_is_started_where_nothing_is_configured(tmp_path: Path) -> None:
    """No thread, no file, no open file; events cost nothing."""
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with exporter_of(make_config(tmp_path)) as metrics:
        metrics.on_event(PUBLISHED)
        assert threading.active_count() == threads
        assert len(os.listdir("/proc/self/fd")) == files
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_mistake_of_ours_costs_no_recording(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The worker goes on."""
    metrics = exporter_of(make_config(tmp_path, port=free_port()))
    metrics.on_event(RecordingEnded("a.wav", "done", lag_s=None))  # type: ignore[arg-type]
    assert "a mistake of ours" in caplog.text


def test_nothing_is_imported_where_nothing_is_configured() -> None:
    """A start without figures is as quick as before."""
    program = "import sys, sonyc_ml.node.daemon; print(sorted(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    for name in (
        "sonyc_ml.node.telemetry.collector",
        "sonyc_ml.node.telemetry.exposition",
        "http.server",
    ):
        assert f"'{name}'" not in said


def test_the_port_and_the_socket_serve_the_same(tmp_path: Path) -> None:
    """GET and HEAD of /metrics, over both; anything else is not there; the end leaves no socket behind."""
    port, path = free_port(), tmp_path / "metrics.sock"
    config = make_config(tmp_path, port=port, socket=path)
    files = len(os.listdir("/proc/self/fd"))
    with journal_of(config) as journal, exporter_of(config) as metrics:
        journal.add([Identity("x.wav", 1, 1)])
        metrics.on_event(PUBLISHED)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        for where in (port, path):
            status, kind, body = scrape(where)
            assert (status, kind) == (200, CONTENT_TYPE)
            samples = parse(body)
            assert value(samples, "windows_total", bundle="tiny") == 91
            assert value(samples, "backlog_recordings") == 1
            assert scrape(where, "GET", "/metrics?name[]=x")[0] == 200
            assert scrape(where, "HEAD")[::2] == (200, b"")
            assert ask(where, b"HEAD /metrics HTTP/1.0\r\n\r\n").endswith(b"close\r\n\r\n")
            for method, target in (("GET", "/"), ("GET", "/metricsx"), ("POST", "/metrics"), ("DELETE", "/metrics")):
                assert scrape(where, method, target)[0] == 404
    assert not path.exists()
    assert len(os.listdir("/proc/self/fd")) == files


def test_everything_is_told_of_a_daemon(tmp_path: Path) -> None:
    """States, times, disks, process, bundles: each figure is what the journal and the machine say."""
    config = make_config(tmp_path)
    config.output.folder.mkdir()
    with journal_of(config) as journal:
        journal.adopt([(Identity(f"{i}.wav", 1, i), OutputSummary(1.0, 10.0, 0.1)) for i in range(3)])
        journal.add([Identity("p.wav", 1, 1), Identity("q.wav", 1, 1)])
        journal.quarantine(Identity("q.wav", 1, 1), "unreadable", "")
        found_s = journal.oldest_pending()[0].found_s
        wanted = collector_of(config, EventCounts(["tiny"]), clock=lambda: found_s + 50)
        samples = parse(text := render(wanted.families()))
        wanted.close()
    states = {dict(labels)["state"]: n for (name, labels), n in samples.items() if name.endswith("journal_recordings")}
    assert states == {"pending": 1, "done": 3, "quarantined": 1, "shed": 0}
    assert value(samples, "lag_seconds") == pytest.approx(50)
    assert value(samples, "last_recording_timestamp_seconds") == found_s
    assert value(samples, "last_output_timestamp_seconds") == pytest.approx(found_s, abs=1)
    for name, expected in {"quiet": 1, "trouble": 0, "journal_up": 1}.items():
        assert value(samples, name) == expected
    assert value(samples, "folder_up", state="watched") == 1
    assert value(samples, "bundle_info", name="tiny", version="1.2.0", sha256="ab") == 1
    assert value(samples, "xnnpack_operators", bundle="tiny") == 3
    assert value(samples, "operators", bundle="tiny") == 5
    assert 0 < value(samples, "disk_free_bytes", folder="output") < value(samples, "disk_size_bytes", folder="output")
    assert 10e6 < value(samples, "process_resident_memory_bytes") < 10e9
    assert abs(value(samples, "process_start_time_seconds") - found_s) < 3600 * 24
    assert value(samples, "process_cpu_seconds_total") > 0
    (build,) = [dict(labels) for name, labels in samples if name == "sonyc_ml_build_info"]
    assert build["runtime"] == "litert"
    promtool("check", "metrics", text=text)


@pytest.mark.parametrize(("word", "is_up"), [("watched", 1), ("polled", 1), ("missing", 0), ("unreadable", 0)])
def test_what_is_not_well_is_told(tmp_path: Path, word: str, is_up: int) -> None:
    """Folder, trouble and silence, as the daemon says."""
    daemon = DaemonFacts(os.getpid())
    facts = Facts(
        daemon=daemon, folder=FolderFacts(word), input=InputFacts("ok"), trouble=TroubleFacts(detail="disk full")
    )
    wanted = collector_of(make_config(tmp_path), EventCounts(), lambda: facts)
    samples = parse(render(wanted.families()))
    assert value(samples, "folder_up", state=word) == is_up
    assert value(samples, "trouble") == 1
    assert value(samples, "quiet") == 0


def test_a_daemon_that_ran_before_is_not_told_of(tmp_path: Path) -> None:
    """Its facts are in the journal until the new one has started; those given otherwise come first."""
    config = make_config(tmp_path)
    with journal_of(config) as journal:
        journal.write_facts(Facts(daemon=DaemonFacts(1)))
        for facts, n_told in ((None, 0), (lambda: Facts(daemon=DaemonFacts(os.getpid())), 1)):
            wanted = collector_of(config, EventCounts(), facts)
            names = [name for name, _ in parse(render(wanted.families()))]
            wanted.close()
            assert names.count("sonyc_ml_trouble") == n_told


def test_a_journal_that_is_away_costs_only_its_figures(tmp_path: Path) -> None:
    """It is opened again when it is there, and when another one has taken its place."""
    config = make_config(tmp_path)
    wanted = collector_of(config, EventCounts())
    samples = parse(render(wanted.families()))
    assert value(samples, "journal_up") == 0
    assert ("sonyc_ml_backlog_recordings", ()) not in samples
    for n in (1, 2):
        with journal_of(config) as journal:
            journal.add([Identity(f"{i}.wav", 1, 1) for i in range(n)])
            assert value(parse(render(wanted.families())), "backlog_recordings") == n
        for path in config.state_folder.iterdir():
            path.unlink()
    (config.state_folder / FILE_NAME).write_bytes(b"no journal at all" * 1000)
    assert value(parse(render(wanted.families())), "journal_up") == 0
    wanted.close()


# Clients, good and bad


@pytest.mark.parametrize(
    ("host", "status"),
    [(host, 200) for host in (*exposition.HOSTS, "localhost:1", "[::1]:9101", "LOCALHOST", "", socket.gethostname())]
    + [
        (host, 421)
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost, evil", "10.0.0.1")
    ],
)
def test_figures_are_of_no_web_page(host: str, status: int, tmp_path: Path) -> None:
    """A page whose name an attacker lets point to this machine is refused; by the socket any name is taken."""
    port, path = free_port(), tmp_path / "metrics.sock"
    config = make_config(tmp_path, port=port, socket=path)
    request = f"GET /metrics HTTP/1.1\r\nAccept: */*\r\nhOsT:{host}\r\n\r\n".encode()
    with journal_of(config), exporter_of(config):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            assert connection.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())
        local = UnixConnection(path)
        local.connect()
        local.sock.sendall(request)
        assert local.sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        local.close()


@pytest.mark.timing
def test_slow_and_broken_clients_hurt_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever says nothing, or something else, or goes away keeps nobody waiting, and is hung up on."""
    monkeypatch.setattr(exposition, "REQUEST_S", 3.0)
    path = tmp_path / "metrics.sock"
    config = make_config(tmp_path, socket=path)
    with journal_of(config), exporter_of(config):
        silent = UnixConnection(path)
        silent.connect()
        for sent in (b"GET /metrics HTTP/1.1\r\nHost:", b"GET /metrics HTTP/1.1\r\n\r\n", b""):
            broken = UnixConnection(path)
            broken.connect()
            broken.sock.sendall(sent)
            broken.close()
        begin_s = time.monotonic()
        assert scrape(path)[0] == 200
        assert time.monotonic() - begin_s < 2
        for nonsense in (b"\x16\x03\x01\r\n\r\n", b"GET /metrics\r\n\r\n", b"x" * exposition.MAX_REQUEST_BYTES):
            odd = UnixConnection(path)
            odd.connect()
            odd.sock.sendall(nonsense)
            assert odd.sock.recv(1000).startswith(b"HTTP/1.1 400 ")
            odd.close()
        assert silent.sock.recv(1) == b""  # hung up on
        silent.close()


def test_a_client_that_does_not_read_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An answer that nobody takes does not stay."""
    monkeypatch.setattr(exposition, "REQUEST_S", 2.0)
    server, path = Server(lambda: bytes(8 << 20)), tmp_path / "s"
    server.listen_on_socket(path)
    client = UnixConnection(path)
    client.connect()
    client.sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    server.serve(time.monotonic() + 0.1)
    assert server.n_clients == 1
    end_s = time.monotonic() + PATIENCE_S
    while server.n_clients and time.monotonic() < end_s:
        server.serve(time.monotonic() + 0.1)
    assert server.n_clients == 0
    client.close()
    server.close()


def test_more_clients_than_there_are_places(tmp_path: Path) -> None:
    """Whoever takes every place loses the first one to the next that comes."""
    path = tmp_path / "metrics.sock"
    config = make_config(tmp_path, socket=path)
    with journal_of(config), exporter_of(config):
        hoard = [UnixConnection(path) for _ in range(exposition.MAX_CLIENTS)]
        for connection in hoard:
            connection.connect()
        assert scrape(path)[0] == 200
        for connection in hoard:
            connection.close()


@pytest.mark.timing
def test_too_many_open_files_do_not_spin(tmp_path: Path) -> None:
    """A client that cannot be accepted waits; it is tried a few times a second, not without end."""
    config = make_config(tmp_path, socket=(path := tmp_path / "metrics.sock"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with journal_of(config), exporter_of(config), socket.socket(socket.AF_UNIX) as client:
        scrape(path)
        begin_s = time.process_time()
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), hard))
        try:
            client.settimeout(0.3)
            client.connect(os.fspath(path))
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            with pytest.raises(TimeoutError):
                client.recv(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert time.process_time() - begin_s < 0.1
        client.settimeout(PATIENCE_S)
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")


def test_scrapes_at_once(tmp_path: Path) -> None:
    """Eight at a time, again and again, while events come in: each gets the whole."""
    port = free_port()
    config = make_config(tmp_path, port=port)
    failures: list[Exception] = []

    def scrape_often() -> None:
        try:
            for _ in range(10):
                parse(scrape(port)[2])
        except Exception as error:  # noqa: BLE001  told in the test itself
            failures.append(error)

    with journal_of(config), exporter_of(config) as metrics:
        threads = [threading.Thread(target=scrape_often) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            metrics.on_event(PUBLISHED)
        assert failures == []


def test_a_mistake_of_ours_is_an_error_to_the_client(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The thread lives on."""
    server, path = Server(lambda: bytes(1 // 0)), tmp_path / "s"
    server.listen_on_socket(path)
    client = UnixConnection(path)
    client.connect()
    client.sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    server.serve(time.monotonic() + 0.1)
    assert client.sock.recv(1000).startswith(b"HTTP/1.1 500 ")
    assert "a mistake of ours" in caplog.text
    client.close()
    server.close()


# What cannot be had


def refusal(config: Config) -> str:
    """What is said where it cannot start; it leaves nothing open."""
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError) as refused, exporter_of(config):
        pass
    assert len(os.listdir("/proc/self/fd")) == files
    return str(refused.value)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """One sentence, at the start."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refusal(make_config(tmp_path, port=port))
    assert said == f"metrics.port = {port} cannot be had: Address already in use"


def test_sockets_that_cannot_be_had(tmp_path: Path) -> None:
    """What a killed process left is removed; what somebody uses, or is no socket, stays."""
    path = tmp_path / "metrics.sock"
    config = make_config(tmp_path, socket=path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.fspath(path))
        other.listen()
        assert refusal(config) == f"metrics.socket = {path} cannot be had: another program serves there"
    assert path.exists()
    with journal_of(config), exporter_of(config):
        assert scrape(path)[0] == 200
    path.write_text("precious")
    assert "a file that is no socket is there" in refusal(config)
    assert path.read_text() == "precious"
    assert "AF_UNIX path too long" in refusal(make_config(tmp_path, socket=tmp_path / ("x" * 200)))
    missing = tmp_path / "missing" / "s"
    assert refusal(make_config(tmp_path, socket=missing)).endswith("cannot be had: No such file or directory")


def test_the_socket_of_another_is_left(tmp_path: Path) -> None:
    """Who has taken its place keeps it."""
    path = tmp_path / "metrics.sock"
    config = make_config(tmp_path, socket=path)
    with journal_of(config), exporter_of(config):
        path.rename(tmp_path / "old")
        path.write_text("another's")
    assert path.exists()


# The textfile


def test_the_textfile_is_replaced_again_and_again(tmp_path: Path) -> None:
    """For others to read, whole at any time, and no more than the file itself."""
    path = tmp_path / "node" / "sonyc-ml.prom"
    path.parent.mkdir()
    config = make_config(tmp_path, textfile=path, every_s=0.05)
    before = os.umask(0o077)
    try:
        with journal_of(config), exporter_of(config) as metrics:
            wait_for(path.exists)
            metrics.on_event(PUBLISHED)
            wait_for(lambda: value(parse(path.read_bytes()), "windows_total", bundle="tiny") == 91)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == [path.name]
    promtool("check", "metrics", text=path.read_bytes())


def test_trouble_with_the_textfile_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It goes on when the folder is there."""
    path = tmp_path / "node" / "sonyc-ml.prom"
    config = make_config(tmp_path, textfile=path, every_s=0.01)
    with caplog.at_level(logging.DEBUG, "sonyc_ml.node.telemetry.exporter"), journal_of(config), exporter_of(config):
        wait_for(lambda: len(caplog.records) > 2)
        path.parent.mkdir()
        wait_for(path.exists)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"metrics.textfile = {path} cannot be written: No such file or directory; tried again"]


def test_a_textfile_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """What was there stays, a link in the place of the temporary is not followed."""
    path = tmp_path / "sonyc-ml.prom"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_textfile(path, b"a 1\n")
    assert os.listdir(tmp_path) == [path.name]
    path.rmdir()
    (tmp_path / ".sonyc-ml.prom.tmp").symlink_to(tmp_path / "precious")
    write_textfile(path, b"a 1\n")
    assert os.listdir(tmp_path) == [path.name]


# The daemon


def test_a_daemon_serves_what_it_did(watch: StartWatch, tmp_path: Path, tiny_bundle: Path) -> None:
    """Its figures agree with its outputs, over the port, the socket and the textfile."""
    port, textfile = free_port(), tmp_path / "sonyc-ml.prom"
    text = f'[model]\npath = "{tiny_bundle}"\n[metrics]\nport = {port}\nsocket = "m.sock"\n'
    daemon = watch(model=None, text=f'{text}textfile = "{textfile}"\nevery_s = 0.1\n')
    samples = parse(scrape(port)[2])
    assert value(samples, "recordings_total", state="done", reason="") == 0
    assert ("sonyc_ml_last_output_timestamp_seconds", ()) not in samples
    for i in range(3):
        write_recording(daemon.folder / f"{i}.wav", seconds=2, seed=i)
        daemon.wait_for_state(f"{i}.wav", "done")
    (daemon.folder / "bad.wav").write_bytes(b"no sound at all")
    daemon.wait_for_state("bad.wav", "quarantined")
    samples = settled(port)
    check_figures(samples, daemon.output, tiny_bundle, daemon.process.pid)
    assert {name for name, _ in parse(scrape(tmp_path / "m.sock")[2])} == {name for name, _ in samples}
    done = {"state": "done", "reason": ""}
    wait_for(lambda: value(parse(textfile.read_bytes()), "recordings_total", **done) == 3)
    assert daemon.stop() == 0
    assert not (tmp_path / "m.sock").exists()
    promtool("check", "metrics", text=textfile.read_bytes())


def settled(port: int) -> Samples:
    """The figures when all is told: an event comes after the journal's change, and the totals may be of before."""
    samples: Samples = {}

    def are_all_told() -> bool:
        samples.update(parse(scrape(port)[2]))
        heard = value(samples, "recordings_total", state="quarantined", reason="unreadable")
        return bool(heard and value(samples, "journal_recordings", state="quarantined"))

    wait_for(are_all_told)
    return samples


def check_figures(samples: Samples, output: Path, bundle: Path, pid: int) -> None:
    outputs = list(output.glob("*.npz"))
    name = bundle.stem
    assert value(samples, "recordings_total", state="done", reason="") == len(outputs) == 3
    assert value(samples, "journal_recordings", state="done") == 3
    assert value(samples, "journal_recordings", state="quarantined") == 1
    assert value(samples, "backlog_recordings") == 0
    assert value(samples, "embedded_seconds_total") == 6
    assert value(samples, "windows_total", bundle=name) == 3 * 11
    assert value(samples, "output_bytes_total", bundle=name) == sum(path.stat().st_size for path in outputs)
    assert value(samples, "hop_size_seconds", bundle=name) == 0.1
    assert value(samples, "recording_lag_seconds_count") == 3
    assert 0 < value(samples, "recording_lag_seconds_sum") < 90
    for stage in ("embed", "store"):
        assert value(samples, "stage_duration_seconds_count", bundle=name, stage=stage) == 3
        assert 0 < value(samples, "stage_duration_seconds_sum", bundle=name, stage=stage) < 60
    last_s = max(path.stat().st_mtime for path in outputs)
    assert value(samples, "last_output_timestamp_seconds") == pytest.approx(last_s, abs=2)
    assert value(samples, "folder_up", state="watched") == 1
    assert value(samples, "process_write_bytes_total") >= 0
    assert value(samples, "trouble") == value(samples, "quiet") == 0
    started_s = Path(f"/proc/{pid}").stat().st_ctime
    assert value(samples, "process_start_time_seconds") == pytest.approx(started_s, abs=10)


def test_a_daemon_whose_port_is_taken_says_so(tmp_path: Path, tiny_bundle: Path) -> None:
    """Exit 2, one sentence."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = tmp_path / "c.toml"
        config.write_text(
            f'[spool]\nfolder = "in"\n[output]\nfolder = "out"\n[model]\npath = "{tiny_bundle}"\n'
            f"[metrics]\nport = {other.getsockname()[1]}\n"
        )
        command = [sys.executable, "-m", "sonyc_ml", "watch", "--config", str(config)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr
