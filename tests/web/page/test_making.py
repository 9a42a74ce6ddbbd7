"""The process that makes pictures: bounded, alone, and gone when nobody needs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.base.identity import Identity
from sonyc_ml.web.pictures.jobs import DayJob, Job, LikeJob, RecordingJob, from_line, to_line
from sonyc_ml.web.pictures.kept import OVERHEAD, Kept
from sonyc_ml.web.pictures.maker import Bounds, PictureError, Pictures
from sonyc_ml.web.pictures.making import Maker
from tests.conftest import ROOT
from tests.support.pictured import PicturedNode, values_of
from tests.support.serving import until

BUNDLE = ROOT / "models" / "quantized_default_int8.tflite"


@pytest.fixture
def pictures(pictured_node: PicturedNode) -> Iterator[Callable[..., Pictures]]:
    """Start to make pictures of it, within bounds."""
    made: list[Pictures] = []

    def start(**bounds: float) -> Pictures:
        made.append(Pictures(pictured_node.config, Bounds(**bounds)))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for one in made:
        one.close()


def day_job(pictured_node: PicturedNode, stamp: str = "") -> DayJob:
    return DayJob(start_s=pictured_node.start_s, end_s=pictured_node.start_s + 86400, stamp=stamp)


def is_alive(pid: int | None) -> bool:
    """Whether a process is there, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_jobs_come_over_as_they_are() -> None:
    """Names that are no UTF-8, and times to the last digit."""
    jobs: list[Job] = [
        DayJob(start_s=0.1, end_s=2e9, bundle=2, stamp="7 1.5"),
        RecordingJob(name="b\udcff\n.wav", n_bytes=2**40, mtime_ns=2**62),
        LikeJob(name="ü", n_bytes=1, mtime_ns=-1),
    ]
    lines = [to_line(job) for job in jobs]
    assert [line.count(b"\n") for line in lines] == [1, 1, 1]
    assert [from_line(line) for line in lines] == jobs


def test_what_is_kept_has_a_bound() -> None:
    """What was asked for longest ago goes first; what is too large alone is not kept."""
    kept = Kept(2 * (OVERHEAD + 100))
    jobs = [DayJob(start_s=float(number), end_s=0.0) for number in range(4)]
    for job in jobs[:2]:
        kept.put(job, {"page": bytes(100)})
    assert kept.get(jobs[0]) is not None
    kept.put(jobs[2], {"page": bytes(60), "a.csv": bytes(40)})
    kept.put(jobs[3], {"page": bytes(3 * OVERHEAD)})
    assert [kept.get(job) is not None for job in jobs] == [True, False, True, False]
    assert (len(kept), kept.n_bytes) == (2, 2 * (OVERHEAD + 100))


def test_a_picture_is_made_once(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """What was made is kept by what it shows; the same job is made of the same bytes by another process, too."""
    first, second = pictures(), pictures()
    made = first.made(day_job(pictured_node))
    pid = first.pid
    assert first.made(day_job(pictured_node)) is made
    assert first.made(day_job(pictured_node, "changed")) is not made
    assert (first.pid, first.kept.n_bytes > 0) == (pid, True)
    assert second.made(day_job(pictured_node)) == made


def test_the_process_ends_when_nobody_asks(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """And is started again with the next picture."""
    idle = pictures(idle_s=0.1)
    idle.made(day_job(pictured_node))
    pid = idle.pid
    until(lambda: idle.pid is None and not is_alive(pid))
    assert idle.made(day_job(pictured_node, "later"))
    assert idle.pid != pid


def test_what_takes_too_long_is_given_up(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """The process is killed, and who asked is told."""
    hasty = pictures(job_s=0.05)
    with pytest.raises(PictureError, match="was given up"):
        hasty.made(day_job(pictured_node))
    assert hasty.pid is None


def test_what_needs_too_much_memory_is_given_up(
    pictured_node: PicturedNode, pictures: Callable[..., Pictures], tmp_path: Path
) -> None:
    """An output that is larger in memory than on the disk is refused with a sentence, and the next is made."""
    modest = pictures(memory_mb=150)
    identity = pictured_node.identity(pictured_node.names[0])
    path = pictured_node.outputs / f"{identity.name}.npz"
    whole = path.read_bytes()
    arrays = dict(np.load(path))
    arrays.pop("embedding")
    try:
        np.savez(path, **arrays)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("embedding.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**18, 256)})
            for _ in range(256):
                file.write(bytes(2**20))
        with pytest.raises(PictureError, match="150 MB of memory"):
            modest.made(RecordingJob(name=identity.name, n_bytes=identity.n_bytes, mtime_ns=identity.mtime_ns))
        assert modest.made(day_job(pictured_node))
    finally:
        path.write_bytes(whole)


def test_a_process_that_dies_is_told(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """Whoever waits for it hears how it ended; the next picture has a new one."""
    killed = pictures()
    killed.made(day_job(pictured_node))
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    with pytest.raises(PictureError, match="SIGKILL"):
        killed.made(day_job(pictured_node, "next"))
    assert killed.made(day_job(pictured_node, "next"))


def test_it_ends_with_the_service(pictured_node: PicturedNode) -> None:
    """A service that is killed leaves no process behind."""
    program = (
        "import sys, time; from pathlib import Path; from sonyc_ml.web.pictures.jobs import DayJob; "
        "from sonyc_ml.web.pictures.maker import Pictures; pictures = Pictures(Path(sys.argv[1])); "
        "pictures.made(DayJob(start_s=0.0, end_s=86400.0)); print(pictures.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(pictured_node.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        assert is_alive(pid)
        service.kill()
    until(lambda: not is_alive(pid))


def test_it_ends_in_the_middle(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """A service that stops waits for no picture; whoever asked for it is told, and can ask again."""
    stopped = pictures()
    answers: list[Exception] = []

    def ask() -> None:
        try:
            stopped.made(day_job(pictured_node))
        except PictureError as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: stopped.pid is not None)
    pid = stopped.pid
    stopped.close()
    thread.join()
    assert (len(answers), is_alive(pid)) == (1, False)
    assert stopped.made(day_job(pictured_node, "again"))


def test_few_wait(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """One picture at a time; who would wait too long is sent away at once."""
    busy = pictures(n_waiting=1)
    answers: list[str] = []

    def ask(number: int) -> None:
        try:
            busy.made(day_job(pictured_node, str(number)))
            answers.append("made")
        except PictureError as error:
            answers.append(str(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count("made") == 2
    assert all("try again" in answer for answer in answers if answer != "made")


def test_a_day_has_what_the_node_knows(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """Recordings, gaps, classes, levels and the map; each with its numbers."""
    maker = pictures()
    parts = maker.made(day_job(pictured_node))
    day = json.loads(parts["page"])
    assert day["totals"]["embedded"]["recordings"] == len(pictured_node.names) == 27
    assert day["gaps"]["rows"][0][:2] == ["2026-11-21 04:40:02", "2026-11-21 08:00:00"]
    titles = [figure["title"] for figure in day["figures"]]
    assert titles == ["Recordings", "Classes over the hours", "Sound levels", "Map of the embeddings"]
    assert set(parts) == {"page", "recordings.csv", "classes.csv", "levels.csv", "map.csv", "gaps.csv"}
    rows = [line.split(",") for line in parts["levels.csv"].decode().splitlines()]
    levels = {row[0][11:16]: float(row[1]) for row in rows[1:] if row[1]}
    # In dB of full scale: noise of 0.001, and noise of 0.1 by turns with a tone of 0.3, which is the larger part.
    assert -66 < levels["00:00"] < -56
    assert -20 < levels["08:00"] < -11
    assert "05:00" not in levels


def test_a_recording_has_what_there_is(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """Its sound and what was made of it; without the sound, what is left, and it says so."""
    maker = pictures()
    name = pictured_node.names[-1]
    identity = pictured_node.identity(name)
    job = RecordingJob(name=name, n_bytes=identity.n_bytes, mtime_ns=identity.mtime_ns)
    parts = maker.made(job)
    titles = [figure["title"] for figure in json.loads(parts["page"])["figures"]]
    assert {"Waveform", "Log-mel, as the network read it", "Scores", "Sound levels"} <= set(titles)
    assert parts["log-mel.png"].startswith(b"\x89PNG")
    bands = np.genfromtxt(parts["log-mel.csv"].decode().splitlines(), delimiter=",", skip_header=1)[:, 1:]
    # A tone of 2500 Hz lies in the upper half of 64 mel bands up to 4 kHz, and stands out.
    assert 32 < bands.mean(axis=0).argmax() < 60
    path = pictured_node.recordings / name
    path.rename(path.with_suffix(".away"))
    try:
        left = values_of(
            maker, RecordingJob(name=name, n_bytes=identity.n_bytes, mtime_ns=identity.mtime_ns, stamp="b")
        )
    finally:
        path.with_suffix(".away").rename(path)
    assert not left["has_sound"]
    assert "Waveform" not in [figure["title"] for figure in left["figures"]]
    assert "not kept any more" in left["notes"][0]


def test_the_process_makes_what_is_made_here(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """Day, recording and what sounds alike: made in this process, they are the same but for how much was compared."""
    made, here = pictures(), Maker(pictured_node.config)
    identity = pictured_node.identity(pictured_node.names[0])
    this: dict[str, Any] = {"name": identity.name, "n_bytes": identity.n_bytes, "mtime_ns": identity.mtime_ns}
    for job in (day_job(pictured_node, "here"), RecordingJob(**this), LikeJob(**this)):
        ours, theirs = here.make(job), made.made(job)
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if name.endswith((".png", ".csv")) and ours[name] != theirs[name]] == []


def test_what_sounds_alike_is_found(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """Of a high tone the nearest are the other high tones; it says how many were compared."""
    maker = pictures()
    high, identity = set(pictured_node.names[16::2]), pictured_node.identity(pictured_node.names[-1])
    job = LikeJob(name=identity.name, n_bytes=identity.n_bytes, mtime_ns=identity.mtime_ns)
    found = values_of(maker, job)
    assert identity.name in high
    assert {row["name"] for row in found["rows"][: len(high) - 1]} == high - {identity.name}
    assert found["compared"] == "Compared with 26 recordings"
    cosines = [float(row["cosine"]) for row in found["rows"]]
    assert cosines == sorted(cosines, reverse=True)


def test_what_nobody_knows_is_refused(pictured_node: PicturedNode, pictures: Callable[..., Pictures]) -> None:
    """A recording of another time is no recording of the node."""
    maker = pictures()
    with pytest.raises(PictureError, match="knows no recording") as error:
        maker.made(RecordingJob(name=pictured_node.names[0], n_bytes=1, mtime_ns=1))
    assert error.value.status == 404


def test_the_identity_is_that_of_the_journal() -> None:
    """A job means one recording."""
    assert RecordingJob(name="a", n_bytes=1, mtime_ns=2).identity == Identity("a", 1, 2)
