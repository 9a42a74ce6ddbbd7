"""What an operator types, while the daemon runs and when it does not."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml import cli
from sonyc_ml.base.identity import Identity
from sonyc_ml.node.facts import DaemonFacts, Facts
from sonyc_ml.node.journal.heard import Heard
from sonyc_ml.node.journal.journal import Journal, OutputSummary
from tests.conftest import PATIENCE_S, write_recording

LONG_S = PATIENCE_S


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The output folder of a daemon that has run: a recording done, one quarantined, one shed."""
    spool = tmp_path / "in"
    spool.mkdir()
    now_s = time.time()
    journal = Journal(tmp_path / "out" / ".sonyc-ml")
    for number, name in enumerate(("done.wav", "bad.wav", "late.wav")):
        (spool / name).write_bytes(b"wav")
        identity = Identity(name, 3, (spool / name).stat().st_mtime_ns)
        journal.add([identity])
        if number == 0:
            journal.finish(identity, OutputSummary(now_s - 100, 10.0, 0.1))
        elif number == 1:
            journal.quarantine(identity, "unreadable", "bad.wav: it is not sound")
        else:
            journal.shed(identity, "too old", "it waited", start_s=now_s - 200, duration_s=10.0)
    daemon = DaemonFacts(
        pid=1,
        since="2026-01-01T00:00:00+00:00",
        version="1.0",
        folder=str(spool),
        extensions=(".wav",),
        output=str(tmp_path / "out"),
    )
    journal.write_facts(Facts(daemon=daemon))
    journal.close()
    return tmp_path / "out"


class Answered:
    """What a command printed, and its exit status."""

    def __init__(self, status: int, out: str, error: str) -> None:
        self.status, self.out, self.error = status, out, error

    def json(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.out)
        return answer


Ask = Callable[..., Answered]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command here."""

    def run(*arguments: object) -> Answered:
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return Answered(status, *capsys.readouterr())

    return run


# Without a daemon


def test_status_keys(ask: Ask, output: Path) -> None:
    """`status --json` has keys that programs rely on; 1 where the daemon does not run."""
    answer = ask("status", "--output", output, "--json")
    assert answer.status == 1
    assert set(answer.json()) == {
        *("running", "pid", "since", "version", "recording", "stopped", "folder", "input", "trouble", "backlog"),
        *("counts", "last_output", "bundles", "reload", "disk", "journal", "clock_synchronised", "word", "text"),
        *("attention", "sound", "left_out", "start_times", "sources", "node", "rollouts", "upload"),
    }
    assert set(answer.json()["backlog"]) == {"recordings", "oldest", "lag_s", "late_s", "waiting"}
    assert set(answer.json()["disk"]["spool"]) == {"folder", "free_bytes", "total_bytes", "free_share", "problem"}
    assert "state           not running" in ask("status", "--output", output).out


def test_explain_keys(ask: Ask, output: Path) -> None:
    """`explain --json` has its own; 0 where the recording is known, 1 where it is not."""
    answer = ask("explain", "bad.wav", "--output", output, "--json")
    assert answer.status == 0
    assert set(answer.json()) == {"file", "name", "known", "recordings", "why"}
    assert set(answer.json()["recordings"][0]) == {
        *("name", "bytes", "mtime", "state", "reason", "detail", "found", "changed", "due", "attempts", "failures"),
        *("start", "duration_s", "hop_size_s", "salvaged", "fate", "file", "outputs", "sentences"),
    }
    unknown = ask("explain", "never.wav", "--output", output)
    assert (unknown.status, unknown.out.splitlines()[0]) == (1, "never.wav: the journal does not know it")


def test_audit_keys(ask: Ask, output: Path) -> None:
    """`audit --json` has its own, each total the same three."""
    answer = ask("audit", "--since", "1h", "--output", output, "--json")
    assert answer.status == 0
    totals = {"recorded", "embedded", "salvaged", "quarantined", "shed", "pending"}
    assert set(answer.json()) == totals | {
        *("since", "until", "running", "history_begins", "whole", "gap_s", "embedded_share"),
        *("embedded_share_of_seconds", "gaps", "sources", "nodes", "days"),
    }
    assert all({"recordings", "seconds", "unmeasured"} <= set(answer.json()[total]) for total in totals)
    assert answer.json()["recorded"]["seconds"] == 20.0
    assert [set(gap) for gap in answer.json()["gaps"]] == [
        {"start", "end", "seconds", "open", "unmeasured", "known_by_day"}
    ] * 2
    assert answer.json()["gaps"][1]["open"]
    assert "embedded        10 s in 1 recording" in ask("audit", "--output", output).out
    earlier = ask("audit", "--since", "2min", "--until", "30s", "--gap", 30, "--output", output, "--json").json()
    assert [gap["open"] for gap in earlier["gaps"]] == [False]


def test_list_keys(ask: Ask, output: Path) -> None:
    """`list` shows what was given up, or any one state."""
    answer = ask("list", "--output", output, "--json").json()
    assert set(answer) == {"states", "entries", "more"}
    assert [entry["name"] for entry in answer["entries"]] == ["late.wav", "bad.wav"]
    assert ask("list", "done", "--output", output).out.split()[1:] == ["done", "done.wav"]
    assert len(ask("list", "--limit", 1, "--output", output, "--json").json()["entries"]) == 1
    assert len(ask("list", "--limit", 0, "--since", "1h", "--output", output, "--json").json()["entries"]) == 2


def test_list_heard(ask: Ask, output: Path) -> None:
    """`list --heard` has keys of its own; a class that was never heard, and no detections at all, are said."""
    nothing = ask("list", "--heard", "siren", "--output", output)
    assert nothing.status == 0
    assert "no detections are known" in nothing.out
    now_s = time.time()
    journal = Journal(output / ".sonyc-ml")
    (done,) = journal.latest(["done"])
    bird = Heard("Turdus merula_Eurasian Blackbird", 0.9, 2.0, 3.5)
    journal.finish(done.identity, OutputSummary(now_s - 100, 10.0, 0.1, heard=(Heard("siren", 0.75, 4.0, 5.0), bird)))
    journal.close()
    answer = ask("list", "--heard", "Siren", "--since", "24h", "--output", output, "--json").json()
    assert set(answer) == {"heard", "labels", "entries", "more", "others"}
    (entry,) = answer["entries"]
    assert set(entry) == {"name", "label", "score", "at", "start_s", "end_s"}
    assert (entry["name"], entry["score"], entry["start_s"], entry["end_s"]) == ("done.wav", 0.75, 4.0, 5.0)
    assert (
        "0.90  Turdus merula_Eurasian Blackbird  done.wav, 2.0 to 3.5 s"
        in ask("list", "--heard", "eurasian blackbird", "--output", output).out
    )
    assert "not heard since then" in ask("list", "--heard", "siren", "--since", "60s", "--output", output).out
    unknown = ask("list", "--heard", "sirens", "--output", output)
    assert "sirens was heard in no recording; heard were siren" in unknown.out
    refused = ask("list", "pending", "--heard", "siren", "--output", output)
    assert (refused.status, "leave out pending" in refused.error) == (2, True)


def test_retry(ask: Ask, output: Path) -> None:
    """`retry` makes pending what was given up, and says what it would do when told so."""
    dry = ask("retry", "--all", "--dry-run", "--output", output)
    assert (dry.status, dry.out) == (0, "bad.wav\nlate.wav\n2 recordings would be tried again\n")
    assert ask("retry", "--reason", "too old", "--output", output, "--json").json() == {
        "retried": ["late.wav"],
        "refused": [],
        "dry_run": False,
    }
    states = {entry["name"] for entry in ask("list", "pending", "--output", output, "--json").json()["entries"]}
    assert states == {"late.wav"}
    some = ask("retry", output.parent / "in" / "bad.wav", "never.wav", "--output", output)
    assert (some.status, some.out.splitlines()[-1]) == (1, "1 recording will be tried again")
    assert some.out.startswith("not never.wav: the journal does not know it")
    none = ask("retry", "never.wav", "--output", output)
    assert (none.status, none.out.splitlines()[-1]) == (2, "nothing to try again")
    assert ask("retry", "--quarantined", "--output", output).status == 0


def test_many_refusals_are_not_listed_one_by_one(ask: Ask, output: Path) -> None:
    """Ten, and how many more."""
    answer = ask("retry", *(f"{number}.wav" for number in range(13)), "--output", output)
    assert answer.out.splitlines()[10] == "not 3 recordings more; --json lists them all"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit", "--since", "soon"], "--since: 'soon' is no time; give how long ago"),
        (["audit", "--since", "1h", "--until", "2h"], "--since 1h must be earlier than --until 2h"),
        (["audit", "--gap", "-1"], "--gap must not be below 0"),
        (["list", "--limit", "-1"], "--limit must not be below 0"),
        (["retry"], "say what to try again: either FILEs, or"),
        (["retry", "a.wav", "--all"], "say what to try again: either FILEs, or"),
        (["reload", "--timeout", "0"], "--timeout must be above 0"),
        (["reload"], "is running; start it with sonyc-ml watch"),
    ],
)
def test_mistakes_are_one_sentence(ask: Ask, output: Path, arguments: list[str], message: str) -> None:
    """What was typed wrong ends in one line, and 2."""
    answer = ask(*arguments, "--output", output)
    assert (answer.status, answer.out) == (2, "")
    assert message in answer.error
    assert len(answer.error.splitlines()) == 1


def test_a_damaged_journal_is_said_to_be_so(ask: Ask, output: Path) -> None:
    """Nothing is made up, and nothing is changed."""
    path = output / ".sonyc-ml" / "journal.sqlite"
    path.write_bytes(b"no database" * 1000)
    answer = ask("status", "--output", output)
    assert answer.status == 2
    assert f"the journal {path} is damaged" in answer.error
    assert path.read_bytes().startswith(b"no database")


# Which journal


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any configuration."""
    monkeypatch.delenv("SONYC_ML_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "sonyc-ml" / "sonyc-ml.toml"


def test_the_journal_is_found(ask: Ask, output: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By flag, by the environment, by the usual file; a file that lacks what flags give will do."""
    assert ask("list", "--state", output / ".sonyc-ml").status == 0
    if not Path("/etc/sonyc-ml/sonyc-ml.toml").exists():
        assert "which daemon? There is no " in ask("list").error
    nowhere.parent.mkdir(parents=True)
    nowhere.write_text(f'[output]\nfolder = "{output}"\n[model]\n')
    assert ask("list").status == 0
    relative = output.parent / "node.toml"
    relative.write_text('[state]\nfolder = "out/.sonyc-ml"\n[output]\nfolder = "elsewhere"\n')
    assert ask("list", "--config", relative).status == 0
    nowhere.unlink()
    monkeypatch.setenv("SONYC_ML_CONFIG", str(relative))
    assert ask("list").status == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[spool]\n", "has neither state.folder nor output.folder; give --output DIR or --state DIR"),
        ("output = 1\n", "has neither state.folder nor output.folder"),
        ("[output", "is not TOML"),
        ('[output]\nfolder = "void"\n', "there is no journal at"),
    ],
)
def test_a_configuration_that_does_not_say(ask: Ask, tmp_path: Path, text: str, message: str) -> None:
    """Each is one sentence."""
    path = tmp_path / "node.toml"
    path.write_text(text)
    answer = ask("status", "--config", path)
    assert answer.status == 2
    assert message in answer.error
    assert "No such file" in ask("status", "--config", tmp_path / "none.toml").error


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_a_journal_that_may_only_be_read(output: Path) -> None:
    """Somebody without write permission is answered all the same; a retry says what it needs."""
    state = output / ".sonyc-ml"
    for path in (*state.iterdir(), state):
        path.chmod(0o444 if path.is_file() else 0o555)
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "sonyc_ml"]

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=LONG_S
        )

    answer = run("status", "--output", output, "--json")
    assert (answer.returncode, answer.stderr) == (1, "")
    assert json.loads(answer.stdout)["counts"]["done"]["recordings"] == 1
    assert run("audit", "--output", output).returncode == 0
    retried = run("retry", "--all", "--output", output)
    assert retried.returncode == 2
    assert "the journal" in retried.stderr
    assert len(retried.stderr.splitlines()) == 1


def test_a_reader_may_stop_reading(output: Path) -> None:
    """`sonyc-ml list | head` ends without a traceback."""
    command = [sys.executable, "-m", "sonyc_ml", "list", "--output", str(output)]
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=LONG_S)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("command", [["status"], ["explain", "bad.wav"], ["audit"], ["list"]])
def test_questions_are_cheap(output: Path, command: list[str]) -> None:
    """Neither numpy nor watchdog is imported to answer."""
    program = (
        "import sys, sonyc_ml.cli as c\nc.main(sys.argv[1:])\n"
        "print({'numpy', 'watchdog', 'soundfile', 'sonyc_ml.node.config'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *command, "--output", output], capture_output=True, text=True, check=True
    )
    assert result.stderr == "set()\n"


# With a daemon


class Daemon:
    """A running ``sonyc-ml watch`` with a configuration."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model, self.log = folder, folder / model.name, folder / "log"
        for path in model.parent.glob(f"{model.stem}.*"):
            shutil.copy(path, folder)
        self.config = folder / "node.toml"
        self.config.write_text(
            f'[spool]\nfolder = "in"\nsettle_s = 0.1\n[model]\npath = "{model.name}"\n[output]\nfolder = "out"\n'
        )
        (folder / "in").mkdir()
        command = [sys.executable, "-m", "sonyc_ml", "watch", "--config", str(self.config)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.wait(lambda: "watching" in self.log.read_text())

    def wait(self, is_there: Callable[[], bool]) -> None:
        end_s = time.monotonic() + LONG_S
        while not is_there():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end_s, self.log.read_text()
            time.sleep(0.02)


@pytest.fixture
def daemon(tmp_path: Path, tiny_bundle: Path) -> Iterator[Daemon]:
    """One that watches ``in`` and is ended with the test."""
    running = Daemon(tmp_path, tiny_bundle)
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.wait()


def test_a_running_daemon(ask: Ask, daemon: Daemon) -> None:
    """Status, explanation and audit of what it does; and once it has stopped, of what it did."""
    write_recording(daemon.folder / "in" / "a.wav")
    daemon.wait((daemon.folder / "out" / "a.wav.npz").exists)
    daemon.wait(lambda: ask("explain", "a.wav", "--config", daemon.config).status == 0)
    daemon.wait(lambda: ask("status", "--config", daemon.config, "--json").json()["counts"]["done"]["recordings"] == 1)
    answer = ask("status", "--config", daemon.config, "--json")
    told = answer.json()
    assert (answer.status, told["word"], told["pid"]) == (0, "waiting", daemon.process.pid)
    assert told["start_times"] == "start times: 1 by the file's time; see recordings.start_patterns"
    shown = ask("status", "--config", daemon.config).out
    assert re.search(r"^start times +1 by the file's time; see recordings.start_patterns$", shown, re.MULTILINE)
    assert (told["last_output"]["recording"], told["folder"]["word"]) == ("a.wav", "watched")
    (bundle,) = told["bundles"]
    assert (bundle["name"], bundle["version"], bundle["operators"] > 0) == ("tiny", "1.0.0", True)
    explained = ask("explain", daemon.folder / "in" / "a.wav", "--config", daemon.config, "--json").json()
    assert explained["recordings"][0]["outputs"] == [str(daemon.folder / "out" / "a.wav.npz")]
    assert ask("audit", "--config", daemon.config, "--json").json()["embedded"]["seconds"] == 1.0
    refused = ask("retry", "a.wav", "--config", daemon.config)
    assert (refused.status, "remove its output" in refused.out) == (2, True)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(LONG_S) == 0
    assert ask("status", "--config", daemon.config, "--json").json()["word"] == "stopped"


def test_a_retry_reaches_the_daemon(ask: Ask, daemon: Daemon) -> None:
    """What is retried is taken up within seconds; what is done again needs its output removed."""
    (daemon.folder / "in" / "bad.wav").write_bytes(b"no sound")
    daemon.wait(lambda: "quarantined (unreadable)" in daemon.log.read_text())
    assert ask("retry", "--quarantined", "--config", daemon.config).out == "1 recording will be tried again\n"
    daemon.wait(lambda: daemon.log.read_text().count("quarantined (unreadable)") == 2)
    write_recording(daemon.folder / "in" / "a.wav")
    path = daemon.folder / "out" / "a.wav.npz"
    daemon.wait(lambda: ask("list", "done", "--config", daemon.config, "--json").json()["entries"] != [])
    path.unlink()
    assert ask("retry", "a.wav", "--config", daemon.config).status == 0
    daemon.wait(path.exists)


def test_reload(ask: Ask, daemon: Daemon) -> None:
    """Each outcome is the daemon's own: good twice in a row, bad when the bundle is no good."""
    for _ in range(2):
        answer = ask("reload", "--config", daemon.config, "--json")
        assert (answer.status, set(answer.json()), answer.json()["ok"]) == (0, {"at", "ok", "detail"}, True)
    assert daemon.log.read_text().count("reloaded: running tiny") == 2
    daemon.config.write_text(daemon.config.read_text().replace("tiny.tflite", "void.tflite"))
    answer = ask("reload", "--config", daemon.config)
    assert answer.status == 1
    assert answer.out.startswith("not reloaded: ")
    assert "void.tflite" in answer.out
    status = ask("status", "--config", daemon.config)
    assert status.status == 1
    assert "the last reload failed, the old bundle runs on" in status.out
    daemon.config.write_text(daemon.config.read_text().replace("void.tflite", "tiny.tflite"))
    assert ask("reload", "--config", daemon.config).status == 0
    assert ask("status", "--config", daemon.config).status == 0


@pytest.mark.parametrize("verbose", [False, True])
def test_a_log_says_little(tmp_path: Path, tiny_bundle: Path, *, verbose: bool) -> None:
    """Each recording has a line with --verbose; without, nothing is said where all is well."""
    write_recording(tmp_path / "in" / "a.wav")
    command = [sys.executable, "-m", "sonyc_ml", "watch", str(tmp_path / "in"), "--model", str(tiny_bundle)]
    command += ["--output", str(tmp_path / "out"), *(["--verbose"] if verbose else [])]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        end_s = time.monotonic() + LONG_S
        while not (tmp_path / "out" / "a.wav.npz").exists() and time.monotonic() < end_s:
            time.sleep(0.02)
        process.terminate()
        assert process.wait(LONG_S) == 0
    assert ("a.wav: 1 windows" in (tmp_path / "log").read_text()) == verbose


def test_a_terminal_is_told_each_recording(tmp_path: Path, tiny_bundle: Path) -> None:
    """Who looks on sees a line for each output."""
    write_recording(tmp_path / "in" / "a.wav")
    leader, follower = os.openpty()
    command = [sys.executable, "-m", "sonyc_ml", "watch", str(tmp_path / "in"), "--model", str(tiny_bundle)]
    with subprocess.Popen([*command, "--output", str(tmp_path / "out")], stderr=follower) as process:
        os.close(follower)
        seen = b""
        while b"a.wav: 1 windows" not in seen and select.select([leader], [], [], LONG_S / 3)[0]:
            seen += os.read(leader, 4096)
        process.terminate()
        assert process.wait(LONG_S) == 0
    os.close(leader)
    assert b"a.wav: 1 windows" in seen
