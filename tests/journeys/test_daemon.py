"""The daemon as a node runs it: a process of its own, real files, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from sonyc_ml.node.journal.journal import Journal
from tests.conftest import write_recording
from tests.support.bundles import copy_bundle, make_bundle, make_fragile, write_loud
from tests.support.command import sonyc_ml
from tests.support.container import wait_for
from tests.support.journals import fill, fill_for_changes, mounted
from tests.support.watching import LONG_S, StartWatch


def test_each_recording_is_embedded_once(watch: StartWatch) -> None:
    """Recordings that were there, are written, are moved in or lie in sub-folders all come out, each once."""
    daemon = watch()
    write_recording(daemon.folder / "a.wav")
    write_recording(daemon.folder / "2026" / "b.wav", seed=1)
    write_recording(daemon.output.with_name("c.wav"), seed=2).rename(daemon.folder / "c.wav")
    for name in ("a.wav.npz", "2026/b.wav.npz", "c.wav.npz"):
        daemon.wait_for_output(name)
    assert daemon.stop() == 0
    assert "stopped; embedded 3\n" in daemon.log()


def test_what_is_embedded_is_not_embedded_again(watch: StartWatch) -> None:
    """A restart leaves alone what has its output, and does again what has changed since."""
    first = watch("--verbose")
    for name in ("a.wav", "b.wav"):
        write_recording(first.folder / name)
        first.wait_for_output(f"{name}.npz")
    first.stop()
    old = (first.folder / "b.wav").stat().st_mtime_ns
    os.utime(write_recording(first.folder / "b.wav", seed=9), ns=(old - 10**9,) * 2)
    second = watch("--verbose")
    second.wait_for_line("b.wav: 1 windows")
    assert second.stop() == 0
    assert "a.wav" not in second.log()
    assert "stopped; embedded 1\n" in second.log()
    assert len(second.outputs()) == 3


def test_a_bad_recording_is_reported_and_passed_over(watch: StartWatch) -> None:
    """A recording that cannot be read costs only itself."""
    daemon = watch()
    (daemon.folder / "bad.wav").write_bytes(b"no sound at all")
    write_recording(daemon.folder / "good.wav")
    daemon.wait_for_output("good.wav.npz")
    daemon.wait_for_line("quarantined (unreadable): ")
    assert daemon.stop() == 0
    assert "bad.wav: it is not a sound file" in daemon.log()
    assert "stopped; embedded 1, quarantined 1\n" in daemon.log()
    assert daemon.outputs() == ["good.wav.npz"]


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_recording_at_hand(watch: StartWatch, number: int) -> None:
    """The recording being embedded when the signal comes is embedded, where it takes no second; the next one is not."""
    daemon = watch("--verbose", "--hop_size", "0.005")
    write_recording(daemon.output.with_name("a.wav"), seconds=3).rename(daemon.folder / "a.wav")
    daemon.wait(lambda: bool(daemon.ask(Journal.begun)), "a.wav begun")
    write_recording(daemon.folder / "b.wav")
    assert daemon.stop(number) == 0
    with np.load(daemon.output / "a.wav.npz", allow_pickle=False) as output:
        assert len(output["embedding"]) == 401
    assert daemon.outputs() == ["a.wav.npz"]


@pytest.mark.timing
def test_a_second_signal_stops_now(watch: StartWatch, slowness: float) -> None:
    """A second signal does not wait for the recording, and leaves nothing half-written."""
    daemon = watch("--verbose", "--hop_size", "0.001")
    write_recording(daemon.output.with_name("a.wav"), seconds=600).rename(daemon.folder / "a.wav")
    daemon.wait(lambda: bool(daemon.ask(Journal.begun)), "a.wav begun")
    daemon.process.send_signal(signal.SIGTERM)
    start_s = time.monotonic()
    assert daemon.stop(signal.SIGINT) == 130
    assert time.monotonic() - start_s < 2 * slowness
    assert daemon.outputs() == []


def test_csv_and_extensions(watch: StartWatch) -> None:
    """Format and extensions are the user's to choose."""
    daemon = watch("--format", "csv", "--extensions", ".flac")
    write_recording(daemon.folder / "ignored.wav")
    write_recording(daemon.folder / "a.flac")
    daemon.wait_for_output("a.flac.csv")
    daemon.stop()
    assert daemon.outputs() == ["a.flac.csv"]


def test_an_output_that_cannot_be_stored_is_tried_again(watch: StartWatch, tmp_path: Path) -> None:
    """Trouble with the disk is reported once, and again when it has passed; the recording is embedded then."""
    with mounted() as disk:
        (tmp_path / "out" / "sub").mkdir(parents=True)
        subprocess.run(["mount", "--bind", disk, tmp_path / "out" / "sub"], check=True)
        try:
            ballast = fill(disk)
            daemon = watch()
            write_recording(daemon.folder / "sub" / "a.wav")
            daemon.wait_for_line("everything waits, and is tried again")
            daemon.wait(lambda: daemon.ask(Journal.facts).trouble is not None, "a fact")
            assert daemon.ask(Journal.facts).trouble.detail.endswith("No space left on device")
            ballast.unlink()
            daemon.wait_for_output("sub/a.wav.npz")
            daemon.wait_for_line("the trouble has passed")
            assert daemon.stop() == 0
            assert daemon.log().count("cannot be written: ") <= 3  # by the recording, and by who waits
        finally:
            subprocess.run(["umount", tmp_path / "out" / "sub"], check=True)


def test_sonyc_network(watch: StartWatch, sonyc_bundle: Path, street: Path) -> None:
    """SONYC's own network on a street recording, all the way."""
    daemon = watch(model=sonyc_bundle)
    (daemon.folder / "a.wav").write_bytes((street / "11_000297.wav").read_bytes())
    with np.load(daemon.wait_for_output("a.wav.npz"), allow_pickle=False) as output:
        assert output["embedding"].shape == (91, 256)
        assert str(output["recording"]) == "a.wav"
    assert daemon.stop(signal.SIGINT) == 0


# --- one node, one daemon ---------------------------------------------------------------------------------------------


def test_a_second_daemon_on_the_same_outputs_is_refused(watch: StartWatch, tiny_bundle: Path) -> None:
    """Exit status 2, and one sentence that says who is there."""
    daemon = watch()
    second = sonyc_ml("watch", daemon.folder, "--model", tiny_bundle, "--output", daemon.output)
    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert line.startswith(
        f"sonyc-ml: error: process {daemon.process.pid} already keeps the journal in {daemon.state};"
    )
    assert daemon.stop() == 0


def test_a_folder_that_is_missing_at_the_start_is_waited_for(watch: StartWatch, tmp_path: Path) -> None:
    """It is told once that the folder is missing, and once that it has come."""
    (tmp_path / "recordings").rmdir()
    daemon = watch()
    daemon.wait_for_line("recordings: it is not there; waiting for it")
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_output("a.wav.npz")
    daemon.wait_for_line("is there again")
    assert daemon.stop() == 0
    assert daemon.log().count("waiting for it") == 1
    assert daemon.ask(Journal.facts).folder_word == "watched"


def test_a_recorder_that_is_silent_is_told_of_once(watch: StartWatch, tmp_path: Path) -> None:
    """And once more when it is heard again."""
    (tmp_path / "c.toml").write_text("[spool]\nquiet_after_s = 0.5\n")
    daemon = watch("--config", tmp_path / "c.toml")
    daemon.wait_for_line("no recording for 0 minutes; is the recorder running?")
    daemon.wait(lambda: daemon.ask(Journal.facts).is_quiet, "a fact")
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_line("recordings come in again")
    daemon.wait_for_output("a.wav.npz")
    daemon.stop()


def test_a_log_says_nothing_of_each_recording(watch: StartWatch) -> None:
    """What goes well leaves two lines: that it runs, and what was done."""
    daemon = watch()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())  # or the first start time that no name says were logged
    for number in range(5):
        write_recording(daemon.folder / f"street{number}_{stamp}.wav")
        daemon.wait_for_output(f"street{number}_{stamp}.wav.npz")
    assert daemon.stop() == 0
    lines = [line.split(" ", 2)[1:] for line in daemon.log().splitlines()]
    names = f"watching {daemon.folder} with tiny, writing to {daemon.output}"
    assert lines == [["INFO", names], ["INFO", "stopped; embedded 5"]]


def test_the_journal_says_what_became_of_each(watch: StartWatch) -> None:
    """While the daemon runs others read it, and it says who the daemon is."""
    daemon = watch()
    write_recording(daemon.folder / "a.wav")
    (daemon.folder / "bad.wav").write_bytes(b"no sound at all")
    assert daemon.wait_for_state("a.wav", "done").duration_s == 1.0
    assert daemon.wait_for_state("bad.wav", "quarantined").reason == "unreadable"
    assert daemon.ask(Journal.facts).daemon.pid == daemon.process.pid
    daemon.stop()
    assert daemon.ask(Journal.facts).stopped


def test_a_recording_that_kills_the_process_is_given_up(watch: StartWatch, tmp_path: Path) -> None:
    """Who restarts the daemon need not do so for ever: after so many deaths the recording is quarantined."""
    bundle = make_fragile(tmp_path, "Deadly")
    (tmp_path / "c.toml").write_text("[recordings]\nmax_attempts = 2\n")
    write_loud(tmp_path / "recordings" / "a.wav")
    os.utime(tmp_path / "recordings" / "a.wav", (1, 1))
    for _ in range(2):
        assert watch("--config", tmp_path / "c.toml", model=bundle).process.wait(LONG_S) == -signal.SIGKILL
    daemon = watch("--config", tmp_path / "c.toml", model=bundle)
    entry = daemon.wait_for_state("a.wav", "quarantined")
    assert entry.reason == "killed the process"
    write_recording(daemon.folder / "b.wav")
    daemon.wait_for_output("b.wav.npz")
    assert daemon.stop() == 0
    assert "the process was killed 2 times while it embedded this recording" in daemon.log()


@pytest.mark.x86  # the emulator keeps limits of memory to itself
def test_nice_and_memory_are_as_configured(watch: StartWatch, tmp_path: Path) -> None:
    """The kernel knows of both."""
    (tmp_path / "c.toml").write_text("[process]\nnice = 7\nmemory_mb = 1000\n")
    daemon = watch("--config", tmp_path / "c.toml")
    proc = Path("/proc", str(daemon.process.pid))
    assert proc.joinpath("stat").read_text().rpartition(")")[2].split()[16] == "7"
    (limit,) = [line for line in proc.joinpath("limits").read_text().splitlines() if line.startswith("Max data size")]
    assert limit.split()[3] == str(1000 << 20)
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_output("a.wav.npz")
    assert daemon.stop() == 0


# --- bundles ----------------------------------------------------------------------------------------------------------


def test_several_bundles(watch: StartWatch, tiny_bundle: Path, tmp_path: Path) -> None:
    """Each recording goes through all of them, into a folder for each."""
    other = make_bundle(tmp_path / "models" / "other.tflite", 6)
    text = "".join(f'[[model]]\npath = "{path}"\n' for path in (tiny_bundle, other))
    daemon = watch(text=text, model=None)
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_state("a.wav", "done")
    assert daemon.outputs() == ["other/a.wav.npz", "tiny/a.wav.npz"]
    daemon.stop()


def test_sighup_reloads(watch: StartWatch, tiny_bundle: Path, tmp_path: Path) -> None:
    """The next recording goes through the bundle that the file names now; where that is no good, the old one stays."""
    other = make_bundle(tmp_path / "models" / "other.tflite", 6)
    daemon = watch(text=f'[model]\npath = "{tiny_bundle}"\n', model=None)
    configuration = tmp_path / "sonyc-ml.toml"
    configuration.write_text(configuration.read_text().replace(str(tiny_bundle), str(other)))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for_line("reloaded: running other ")
    assert "needs a restart" not in daemon.log()
    write_recording(daemon.folder / "a.wav")
    with np.load(daemon.wait_for_output("a.wav.npz")) as output:
        assert (str(output["bundle"]), output["embedding"].shape) == ("other", (1, 6))
    configuration.write_text("[spool")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for_line("not reloaded, the old bundle runs on: ")
    assert "is not TOML" in daemon.log()
    daemon.wait(lambda: daemon.ask(Journal.facts).reload.ok is False, "a fact")
    write_recording(daemon.folder / "b.wav")
    daemon.wait_for_output("b.wav.npz")
    assert daemon.stop() == 0


def test_a_reload_changes_the_bundles_alone(watch: StartWatch, tiny_bundle: Path, tmp_path: Path) -> None:
    """What else was changed needs a restart, and that is said."""
    daemon = watch(text=f'[model]\npath = "{tiny_bundle}"\n', model=None)
    configuration = tmp_path / "sonyc-ml.toml"
    configuration.write_text(configuration.read_text().replace(str(daemon.output), str(tmp_path / "elsewhere")))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for_line("what changed beside [model] needs a restart")
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_state("a.wav", "done")
    assert daemon.outputs() == ["a.wav.npz"]
    daemon.stop()


def test_a_bundle_replaced_on_disk_is_switched_to(watch: StartWatch, tiny_bundle: Path, tmp_path: Path) -> None:
    """Without a restart and without being told, between two recordings."""
    bundle = copy_bundle(tiny_bundle, tmp_path / "models")
    daemon = watch(model=bundle)
    make_bundle(bundle, 7)
    daemon.wait_for_line("reloaded: running tiny ")
    write_recording(daemon.folder / "a.wav")
    with np.load(daemon.wait_for_output("a.wav.npz")) as output:
        assert output["embedding"].shape == (1, 7)
    assert daemon.stop() == 0


def test_a_broken_bundle_keeps_the_old_one(watch: StartWatch, tiny_bundle: Path, tmp_path: Path) -> None:
    """What nothing vouches for is refused with its reason, and recordings go through what ran before."""
    bundle = copy_bundle(tiny_bundle, tmp_path / "models")
    daemon = watch(model=bundle)
    with bundle.open("ab") as file:
        file.write(b"\0")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for_line("not reloaded, the old bundle runs on: ")
    write_recording(daemon.folder / "a.wav")
    with np.load(daemon.wait_for_output("a.wav.npz")) as output:
        assert output["embedding"].shape == (1, 5)
    assert daemon.stop() == 0


# --- the journal ------------------------------------------------------------------------------------------------------


def test_a_journal_that_is_deleted_is_made_again(watch: StartWatch) -> None:
    """From the outputs, while it runs; and it goes on."""
    daemon = watch()
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_state("a.wav", "done")
    for path in daemon.state.glob("journal.*"):
        path.unlink()
    write_recording(daemon.folder / "b.wav")
    daemon.wait_for_line("was removed; it is made again from the folder and the outputs")
    daemon.wait_for_output("b.wav.npz")
    daemon.wait((daemon.state / "journal.sqlite").exists, "a new journal")
    daemon.wait_for_state("b.wav", "done")
    assert daemon.wait_for_state("a.wav", "done").duration_s == 1.0
    assert daemon.ask(Journal.facts).daemon.pid == daemon.process.pid
    assert daemon.stop() == 0


def test_what_was_found_while_the_disk_was_full_is_not_lost(watch: StartWatch, tmp_path: Path) -> None:
    """A recording that came while the journal could not be written is embedded when it can be."""
    with mounted() as disk:
        (tmp_path / "c.toml").write_text(f'[state]\nfolder = "{disk / "state"}"\n')
        daemon = watch("--config", tmp_path / "c.toml")
        journal = Journal(disk / "state")
        ballast = fill_for_changes(journal, disk)
        write_recording(daemon.folder / "a.wav")
        daemon.wait_for_line("everything waits, and is tried again")
        ballast.unlink()
        daemon.wait_for_output("a.wav.npz")
        daemon.wait_for_line("the trouble has passed")
        assert daemon.stop() == 0
        journal.close()


def test_a_disk_that_is_full_at_the_start_is_waited_for(watch: StartWatch, tmp_path: Path) -> None:
    """To give up would not free it, and a service manager would leave the node down."""
    log = tmp_path / "log"

    def free_once_it_waits() -> None:
        wait_for(lambda: log.exists() and "; waiting for the disk\n" in log.read_text(), "the daemon to wait", LONG_S)
        ballast.unlink()

    with mounted() as disk:
        ballast = fill(disk)
        (tmp_path / "c.toml").write_text(f'[state]\nfolder = "{disk / "state"}"\n')
        thread = threading.Thread(target=free_once_it_waits)
        thread.start()
        daemon = watch("--config", tmp_path / "c.toml")
        thread.join()
        write_recording(daemon.folder / "a.wav")
        daemon.wait_for_output("a.wav.npz")
        assert daemon.stop() == 0


def test_a_damaged_journal_is_made_again_at_the_start(watch: StartWatch) -> None:
    """It is set aside, and what was done is known by the outputs."""
    first = watch()
    write_recording(first.folder / "a.wav")
    first.wait_for_state("a.wav", "done")
    first.stop()
    (first.state / "journal.sqlite").write_text("a letter to my aunt, longer than the header of a database " * 9)
    daemon = watch()
    daemon.wait_for_state("a.wav", "done")
    assert daemon.stop() == 0
    assert "is damaged: " in daemon.log()
    assert "stopped; embedded 0\n" in daemon.log()


def test_a_recording_retried_by_another_is_seen(watch: StartWatch) -> None:
    """The journal is the queue: what somebody else puts back into it is embedded."""
    daemon = watch()
    (daemon.folder / "a.wav").write_bytes(b"no sound at all")
    entry = daemon.wait_for_state("a.wav", "quarantined")
    journal = Journal(daemon.state)
    journal.retry([entry])
    journal.close()
    daemon.wait(lambda: daemon.log().count("quarantined (unreadable)") == 2, "a second try")
    daemon.stop()


def sparse_wav(path: Path, hours: float, sample_rate: int = 48_000) -> Path:
    """Write a header, and silence that takes no room on the disk."""
    n_bytes = round(hours * 3600) * sample_rate * 2
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.setnframes(n_bytes // 2)
        file.writeframes(b"")
    content = bytearray(path.read_bytes())
    content[4:8], content[40:44] = (n_bytes + 36).to_bytes(4, "little"), n_bytes.to_bytes(4, "little")
    path.write_bytes(content)
    os.truncate(path, 44 + n_bytes)
    return path


def peak_bytes(process: subprocess.Popen[bytes]) -> int:
    """The most memory that a process has had."""
    (line,) = (x for x in Path(f"/proc/{process.pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.timing
def test_a_long_recording_is_left_at_once(watch: StartWatch, slowness: float) -> None:
    """Hours of sound neither fill memory nor hold up the end: the recording stays pending, as if it was never begun."""
    daemon = watch("--verbose", "--hop-size", "0.1")
    begin_bytes = peak_bytes(daemon.process)
    sparse_wav(daemon.output.with_name("a.wav"), hours=6).rename(daemon.folder / "a.wav")
    daemon.wait(lambda: bool(daemon.ask(Journal.begun)), "a.wav begun")
    time.sleep(3)  # well inside it
    assert peak_bytes(daemon.process) - begin_bytes < 80e6
    start_s = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - start_s < 2 * slowness
    (entry,) = daemon.ask(lambda journal: journal.find("a.wav"))
    assert (entry.state, entry.n_attempts, entry.n_failures) == ("pending", 0, 0)
    assert daemon.outputs() == []
