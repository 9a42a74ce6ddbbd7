"""A node's metrics: exact as text, kept in the journal, written for node-exporter, and what the daemon did."""

from __future__ import annotations

import json
import logging
import math
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml import errors
from sonyc_ml.base.identity import Identity
from sonyc_ml.base.lock import Lock
from sonyc_ml.node.config import Config, MetricsConfig
from sonyc_ml.node.doctor import node as doctor
from sonyc_ml.node.events import RecordingEnded, RecordingPostponed
from sonyc_ml.node.facts import DaemonFacts, Facts, FolderFacts, InputFacts, TroubleFacts
from sonyc_ml.node.journal.file import FILE_NAME
from sonyc_ml.node.journal.journal import Journal, OutputSummary
from sonyc_ml.node.telemetry import counts as counting
from sonyc_ml.node.telemetry.collector import Collector, Throttled
from sonyc_ml.node.telemetry.counts import CountsKeeper, EventCounts, Histogram, read_counts
from sonyc_ml.node.telemetry.exposition import Family, render
from sonyc_ml.node.telemetry.textfile import Textfile, write_textfile
from tests.conftest import PATIENCE_S, floats, write_recording
from tests.support.metrics import PUBLISHED, Samples, counted, journal_of, make_config, parse, promtool
from tests.support.watching import StartWatch, Watch

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


def samples_of(config: Config, facts: Callable[[], Facts] | None = None, at_s: float | None = None) -> Samples:
    """What is told of a node, now or at a time."""
    clock = time.time if at_s is None else lambda: at_s
    return parse(render(Collector(config.state_folder, facts, clock).families()))


EVENTS = (
    PUBLISHED,
    RecordingEnded("a.wav", "done", lag_s=0.3, duration_s=10.0, salvaged=True),
    RecordingEnded("b.wav", "quarantined", "unreadable", "no sound"),
    RecordingEnded("c.wav", "shed", "too old", lag_s=99.0),
    RecordingPostponed("d.wav", "growing", "", 1.0),
    RecordingPostponed("d.wav", "something new", "", 1.0),
)
COUNTED = ("recordings", "postponed", "embedded", "salvaged", "windows", "output", "hop", "stage", "recording")


def test_events_are_counted(tmp_path: Path) -> None:
    """Each event moves its own figures, and nothing else; another process reads them in the journal."""
    config = make_config(tmp_path)
    with journal_of(config, counted(*EVENTS)):
        samples = samples_of(config)
    told = {
        key: number
        for key, number in samples.items()
        if number and "_bucket" not in key[0] and key[0].removeprefix("sonyc_ml_").startswith(COUNTED)
    }
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


def test_counts_come_back_as_they_were_written() -> None:
    """Through JSON, names that are no UTF-8 too; what is of another form is not guessed at."""
    counts = EventCounts(["tiny", os.fsdecode(b"caf\xe9")])
    for event in EVENTS:
        counts.on_event(event)
    plain = json.loads(json.dumps(counts.to_plain()))
    assert EventCounts.from_plain(plain).to_plain() == counts.to_plain()
    for key, wrong in (("ended", [["done", 1]]), ("lags", {"bounds": [1], "counts": [1], "sum": 0}), ("windows", [])):
        with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
            EventCounts.from_plain({**plain, key: wrong})


def test_every_reason_is_told_as_0_before_it_happens() -> None:
    """The first quarantine would not be seen to rise from nothing."""
    told = dict(counting.ENDS)
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


# What the daemon keeps of it


def test_counts_are_kept_now_and_then(tmp_path: Path) -> None:
    """At the start, then every so often where something has happened, and at the end: each is a write to the card."""
    now_s = 0.0
    keeper = CountsKeeper(["tiny"], 15.0, lambda: now_s)
    config = make_config(tmp_path)

    def kept(*, at_once: bool = False) -> int:
        keeper.keep(journal, at_once=at_once)
        counts = read_counts(journal)
        assert counts is not None
        return counts.windows["tiny"]

    with journal_of(config) as journal:
        assert kept() == 0
        log = journal.path.with_name(f"{FILE_NAME}-wal")
        keeper.on_event(PUBLISHED)
        now_s = 14.0
        assert kept() == 0
        now_s = 15.0
        assert kept() == 91
        n_bytes = log.stat().st_size
        now_s = 1000.0
        assert kept() == 91
        assert log.stat().st_size == n_bytes  # nothing has happened
        keeper.on_event(PUBLISHED)
        assert kept() == 182
        keeper.on_event(PUBLISHED)
        assert kept(at_once=True) == 273


def test_counts_that_cannot_be_kept_cost_nothing_else(tmp_path: Path) -> None:
    """They are kept as soon as that works again."""
    keeper = CountsKeeper(["tiny"], 0.0)
    with journal_of(make_config(tmp_path)) as journal:
        journal.connection.execute("PRAGMA query_only = ON")
        keeper.keep(journal)
        keeper.on_event(PUBLISHED)
        keeper.keep(journal)
        journal.connection.execute("PRAGMA query_only = OFF")
        keeper.keep(journal)
        counts = read_counts(journal)
    assert counts is not None
    assert counts.windows["tiny"] == 91


def test_counts_of_another_version_are_left_out(tmp_path: Path) -> None:
    """Zeros would be wrong; all else is told."""
    config = make_config(tmp_path)
    with journal_of(config) as journal:
        for text in ("{}", "[1]", "null"):
            with journal.transaction():
                journal.connection.execute("UPDATE facts SET value = ? WHERE key = ?", (text, counting.KEY))
            samples = samples_of(config)
            assert ("sonyc_ml_salvaged_total", ()) not in samples
            assert value(samples, "journal_up") == 1


def wait_for(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


# What is told


def test_everything_is_told_of_a_daemon(tmp_path: Path) -> None:
    """States, times, disks, process, bundles: each figure is what the journal and the machine say."""
    config = make_config(tmp_path)
    config.output.folder.mkdir(exist_ok=True)
    with journal_of(config) as journal:
        journal.adopt([(Identity(f"{i}.wav", 1, i), OutputSummary(1.0, 10.0, 0.1)) for i in range(3)])
        journal.add([Identity("p.wav", 1, 1), Identity("q.wav", 1, 1)])
        journal.quarantine(Identity("q.wav", 1, 1), "unreadable", "")
        found_s = journal.oldest_pending()[0].found_s
        families = Collector(config.state_folder, clock=lambda: found_s + 50).families()
        samples = parse(text := render(families))
    states = {dict(labels)["state"]: n for (name, labels), n in samples.items() if name.endswith("journal_recordings")}
    assert states == {"pending": 1, "done": 3, "quarantined": 1, "shed": 0}
    assert value(samples, "lag_seconds") == pytest.approx(50)
    assert value(samples, "last_recording_timestamp_seconds") == found_s
    assert value(samples, "last_output_timestamp_seconds") == pytest.approx(found_s, abs=1)
    for name, expected in {"quiet": 1, "trouble": 0, "journal_up": 1, "daemon_up": 1}.items():
        assert value(samples, name) == expected
    assert value(samples, "folder_up", state="watched") == 1
    assert value(samples, "bundle_info", name="tiny", version="1.2.0", sha256="ab") == 1
    assert value(samples, "xnnpack_operators", bundle="tiny") == 3
    assert value(samples, "operators", bundle="tiny") == 5
    assert 0 < value(samples, "disk_free_bytes", folder="output") < value(samples, "disk_size_bytes", folder="output")
    assert 10e6 < value(samples, "process_resident_memory_bytes") < 10e9
    assert value(samples, "process_start_time_seconds") == pytest.approx(found_s, abs=60)
    assert value(samples, "process_cpu_seconds_total") > 0
    (build,) = [dict(labels) for name, labels in samples if name == "sonyc_ml_build_info"]
    assert build["runtime"] == "litert"
    assert build["version"] == "1.2.3"
    promtool("check", "metrics", text=text)


@pytest.mark.parametrize(("word", "is_up"), [("watched", 1), ("polled", 1), ("missing", 0), ("unreadable", 0)])
def test_what_is_not_well_is_told(tmp_path: Path, word: str, is_up: int) -> None:
    """Folder, trouble and silence, as the daemon says."""
    config = make_config(tmp_path)
    daemon = DaemonFacts(os.getpid())
    facts = Facts(
        daemon=daemon, folder=FolderFacts(word), input=InputFacts("ok"), trouble=TroubleFacts(detail="disk full")
    )
    with journal_of(config):
        samples = samples_of(config, lambda: facts)
    assert value(samples, "folder_up", state=word) == is_up
    assert value(samples, "trouble") == 1
    assert value(samples, "quiet") == 0


def test_trouble_is_told_where_the_journal_cannot_take_it(tmp_path: Path) -> None:
    """On a full disk the fact cannot be written; the lock's file has room for a note, until the process ends."""
    config = make_config(tmp_path)
    lock = Lock(config.state_folder)
    with Journal(config.state_folder).transaction():
        pass
    journal = Journal(config.state_folder)
    journal.write_facts(Facts(daemon=DaemonFacts(os.getpid())))
    assert value(samples_of(config), "trouble") == 0
    detail = "the disk is full of caf\udce9 " + "é" * 2000
    n_bytes = (config.state_folder / "daemon.lock").stat().st_size
    lock.note(f"2026-11-29T05:00:00+00:00 {detail}")
    assert (config.state_folder / "daemon.lock").stat().st_size == n_bytes
    assert value(samples_of(config), "trouble") == 1
    trouble = journal.facts().trouble
    assert trouble is not None
    assert trouble.since == "2026-11-29T05:00:00+00:00"
    assert trouble.detail.startswith("the disk is full of caf")
    lock.note("")
    assert journal.facts().trouble is None
    lock.note("2026-11-29T05:00:00+00:00 full")
    lock.release()
    assert journal.facts().trouble is None
    journal.close()


def test_a_daemon_that_has_ended_is_not_told_of(tmp_path: Path) -> None:
    """What it was is over; what it counted stays, so that the last of it is seen; it counts from 0 when it is back."""
    config = make_config(tmp_path)
    with journal_of(config, counted(PUBLISHED)):
        pass
    for begun in (False, True):
        lock = Lock(config.state_folder) if begun else None
        with Journal(config.state_folder).transaction():
            pass
        journal = Journal(config.state_folder)
        journal.write_facts(Facts(daemon=DaemonFacts(1)))
        samples = samples_of(config)
        assert value(samples, "daemon_up") == begun  # its facts are those of the one before, until it has begun
        assert value(samples, "windows_total", bundle="tiny") == 91
        assert ("sonyc_ml_trouble", ()) not in samples
        if begun:
            assert ("sonyc_ml_process_cpu_seconds_total", ()) in samples  # the same process, here
        else:
            assert ("sonyc_ml_process_cpu_seconds_total", ()) not in samples
        journal.close()
        if lock is not None:
            lock.release()


def has_backlog(wanted: Collector, n: int) -> bool:
    """Whether so many are said to wait."""
    return value(parse(render(wanted.families())), "backlog_recordings") == n


def open_files() -> set[str]:
    """What this process has open now; what earlier tests left may be closed at any time."""
    names = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the folder's own
            names.add(str(path.readlink()))
    return names


def test_a_journal_that_is_away_costs_only_its_figures(tmp_path: Path) -> None:
    """It is opened again when it is there, and when another one has taken its place; nothing stays open."""
    config = make_config(tmp_path)
    wanted = Collector(config.state_folder)
    samples = parse(render(wanted.families()))
    assert value(samples, "journal_up") == 0
    assert ("sonyc_ml_backlog_recordings", ()) not in samples
    for n in (1, 2):
        with journal_of(config) as journal:
            journal.add([Identity(f"{i}.wav", 1, 1) for i in range(n)])
            wait_for(partial(has_backlog, wanted, n))  # it is asked for sparingly
        for path in config.state_folder.iterdir():
            path.unlink()
    (config.state_folder / FILE_NAME).write_bytes(b"no journal at all" * 1000)
    assert value(parse(render(wanted.families())), "journal_up") == 0
    assert [name for name in open_files() if name.startswith(str(tmp_path))] == []


# The textfile


def test_nothing_is_started_where_nothing_is_configured(tmp_path: Path) -> None:
    """No thread, no file, no open file."""
    config = make_config(tmp_path)
    threads, files = set(threading.enumerate()), open_files()
    with Textfile(config.metrics, config.state_folder):
        assert set(threading.enumerate()) <= threads
        assert open_files() <= files
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_nothing_is_imported_where_nothing_is_configured() -> None:
    """A start without figures is as quick as before; no daemon has a server of its own."""
    program = "import sys, sonyc_ml.node.daemon; print(sorted(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    telemetry = ("collector", "exposition", "broker")
    for name in (*(f"sonyc_ml.node.telemetry.{one}" for one in telemetry), "http.server", "prometheus_client"):
        assert f"'{name}'" not in said


def test_the_textfile_is_replaced_again_and_again(tmp_path: Path) -> None:
    """For others to read, whole at any time, and no more than the file itself."""
    path = tmp_path / "node" / "sonyc-ml.prom"
    path.parent.mkdir()
    config = make_config(tmp_path, textfile=path, every_s=0.05)
    before = os.umask(0o077)
    try:
        with journal_of(config) as journal, Textfile(config.metrics, config.state_folder):
            wait_for(path.exists)
            keeper = CountsKeeper(["tiny"])
            keeper.on_event(PUBLISHED)
            keeper.keep(journal, at_once=True)
            wait_for(lambda: value(parse(path.read_bytes()), "windows_total", bundle="tiny") == 91)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == [path.name]
    promtool("check", "metrics", text=path.read_bytes())


def test_trouble_with_the_textfile_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It goes on when the folder is there."""
    path = tmp_path / "node" / "sonyc-ml.prom"
    settings = MetricsConfig(textfile=path, every_s=0.01)
    with caplog.at_level(logging.DEBUG, "sonyc_ml.node.telemetry.textfile"), Textfile(settings, tmp_path):
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


def asked(daemon: Watch, *arguments: object) -> bytes:
    """What ``sonyc-ml metrics`` prints of it."""
    command = [sys.executable, "-m", "sonyc_ml", "metrics", "--output", daemon.output, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_what_a_daemon_did_is_told_by_a_command_and_its_textfile(
    watch: StartWatch, tmp_path: Path, tiny_bundle: Path
) -> None:
    """Its figures agree with its outputs; keys of a daemon that served them are told of, once."""
    textfile, other = tmp_path / "sonyc-ml.prom", tmp_path / "other.prom"
    text = f'[model]\npath = "{tiny_bundle}"\n[metrics]\nport = 9752\nsocket = "m.sock"\n'
    daemon = watch(model=None, text=f'{text}textfile = "{textfile}"\nevery_s = 0.1\n')
    samples = parse(asked(daemon))
    assert value(samples, "recordings_total", state="done", reason="") == 0
    assert ("sonyc_ml_last_output_timestamp_seconds", ()) not in samples
    for i in range(3):
        write_recording(daemon.folder / f"{i}.wav", seconds=2, seed=i)
        daemon.wait_for_state(f"{i}.wav", "done")
    (daemon.folder / "bad.wav").write_bytes(b"no sound at all")
    daemon.wait_for_state("bad.wav", "quarantined")
    bad = {"state": "quarantined", "reason": "unreadable"}
    wait_for(lambda: value(parse(textfile.read_bytes()), "recordings_total", **bad) == 1)
    samples = parse(asked(daemon))
    check_figures(samples, daemon.output, tiny_bundle, daemon.process.pid)
    assert {name for name, _ in parse(textfile.read_bytes())} == {name for name, _ in samples}
    assert asked(daemon, "--textfile", other) == b""
    assert {name for name, _ in parse(other.read_bytes())} == {name for name, _ in samples}
    assert daemon.stop() == 0
    assert not (tmp_path / "m.sock").exists()
    assert value(parse(asked(daemon)), "daemon_up") == 0
    (line,) = [line for line in daemon.log().splitlines() if "metrics." in line]
    assert "metrics.port = 9752 and metrics.socket" in line
    assert "sonyc-ml serve" in line
    promtool("check", "metrics", text=textfile.read_bytes())


def test_a_textfile_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """Exit 2."""
    command = [sys.executable, "-m", "sonyc_ml", "metrics", "--output", str(tmp_path)]
    done = subprocess.run(
        [*command, "--textfile", "/nowhere/x.prom"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("sonyc-ml: error: --textfile /nowhere/x.prom cannot be written")


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
    assert value(samples, "daemon_up") == 1
    started_s = Path(f"/proc/{pid}").stat().st_ctime
    assert value(samples, "process_start_time_seconds") == pytest.approx(started_s, abs=10)


def test_the_doctor_says_who_serves_them_now(tmp_path: Path) -> None:
    """Where keys of a daemon that did are left, with what to do; nothing where only a textfile is wanted."""
    found = doctor.metrics(make_config(tmp_path, port=9752))
    assert (found.verdict, "sonyc-ml serve" in found.text) == ("warn", True)
    assert "systemctl enable --now sonyc-ml-serve" in found.remedy
    assert doctor.metrics(make_config(tmp_path, textfile=tmp_path / "x.prom")).verdict == "ok"
