"""One recording after another comes to its end, whatever that is, and the end is written down."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import StoreError
from sonyc_ml.node.events import RecordingEnded
from sonyc_ml.node.journal.file import FILE_NAME
from sonyc_ml.node.journal.journal import open_journal
from sonyc_ml.node.retention.proof import proof
from sonyc_ml.node.worker import BACKOFF_S, MAX_BACKOFF_S
from sonyc_ml.outputs.files import read_output, read_provenance, write_output
from tests.support.bundles import make_bundle as make_dense_bundle
from tests.support.bundles import make_fragile, write_loud
from tests.support.journals import fill_for_changes, mounted
from tests.support.node import Node

TEMPORARY = ".0123456789abcdef.tmp"


MakeNode = Callable[..., Node]


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    return make_node()


def cut(path: Path, share: float = 0.5) -> None:
    """Leave only the beginning of a recording, as its writer would that was killed."""
    os.truncate(path, int(path.stat().st_size * share))


# --- done -------------------------------------------------------------------------------------------------------------


def test_a_recording_is_embedded(node: Node) -> None:
    """Its output is published, and the journal says when it was recorded, how long it is and how it was embedded."""
    node.write("20240501T120000Z.wav", seconds=2.0)
    node.run()
    entry = node.entry("20240501T120000Z.wav")
    assert (entry.state, entry.n_attempts, entry.reason) == ("done", 0, "")
    assert (entry.start_s, entry.duration_s, entry.hop_size_s) == (1714564800.0, 2.0, 0.1)
    assert node.outputs() == ["20240501T120000Z.wav.npz"]
    assert node.worker.counts == {"embedded": 1, "salvaged": 0, "seconds": 2}


def test_nothing_to_do_is_said(node: Node) -> None:
    """A step says whether there was a recording."""
    assert not node.worker.step()
    node.write()
    assert node.worker.step(node.found())
    assert not node.worker.step(node.found())


def test_an_output_that_is_there_is_adopted(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A recording whose output was published before the process was killed is not embedded again."""
    node.write()
    node.run()
    before = (node.out / "a.wav.npz").stat().st_ino
    node.journal.retry([node.entry()])
    with caplog.at_level(logging.DEBUG):
        node.run()
    assert "a.wav is embedded already" in caplog.text
    assert node.entry().state == "done"
    assert (node.out / "a.wav.npz").stat().st_ino == before


def test_a_name_in_the_way_holds_up_nobody(node: Node) -> None:
    """A recording whose output would be a file and a folder at once is quarantined; the next ones are embedded."""
    for name in ("a.wav", "a.wav.npz/b.wav", "c.wav"):
        node.write(name)
    node.run()
    states = {entry.identity.name: (entry.state, entry.reason) for entry in node.journal.entries()}
    assert states.pop("c.wav") == ("done", "")
    assert sorted(states.values()) == [("done", ""), ("quarantined", "output name")]


@pytest.mark.parametrize("name", ["../../elsewhere.wav", "", "/a.wav", "sub/../a.wav"])
def test_a_forged_output_is_not_adopted(name: str, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """An output from elsewhere whose recording lies outside the folder is left out, with a sentence."""
    node.write()
    node.run()
    output = read_output(node.out / "a.wav.npz")
    write_output(replace(output, provenance=replace(output.provenance, recording=name)), node.out / "forged.npz")
    node.journal.close()
    (node.config.state_folder / FILE_NAME).unlink()
    node.start()
    assert [entry.identity.name for entry in node.journal.entries()] == ["a.wav"]
    assert "an output is left out: the name" in caplog.text


def test_a_damaged_output_is_made_again(node: Node) -> None:
    """What lost its end is replaced."""
    node.write()
    node.run()
    cut(node.out / "a.wav.npz")
    node.journal.retry([node.entry()])
    node.run()
    assert read_provenance(node.out / "a.wav.npz") is not None
    assert node.outputs() == ["a.wav.npz"]


def test_a_name_used_again_is_published_beside(node: Node) -> None:
    """Both outputs stay, and each says whose it is."""
    node.write(seed=1)
    first = node.identity("a.wav")
    node.run()
    node.write(seed=2, seconds=2.0)
    second = node.identity("a.wav")
    node.run()
    assert node.outputs() == [f"a.wav.{second.stamp}.npz", "a.wav.npz"]
    assert [(entry.identity, entry.state) for entry in node.journal.find("a.wav")] == [
        (second, "done"),
        (first, "done"),
    ]
    provenances = [read_provenance(node.out / name) for name in node.outputs()]
    assert [provenance.n_samples for provenance in provenances if provenance] == [16000, 8000]


def test_another_format(make_node: MakeNode) -> None:
    """Outputs are written, found and adopted as CSV."""
    node = make_node(more='format = "csv"\n')
    node.write("sub/a.wav")
    node.run()
    assert node.outputs() == ["sub/a.wav.csv"]
    shutil.rmtree(node.config.state_folder)
    node.restart()
    assert node.entry("sub/a.wav").state == "done"


def test_a_recording_goes_through_every_bundle(make_node: MakeNode, tmp_path: Path, tiny_bundle: Path) -> None:
    """Each writes into its own folder; done is what all of them have embedded."""
    node = make_node(tiny_bundle, make_dense_bundle(tmp_path / "models" / "other.tflite", 6))
    node.write("sub/a.wav")
    node.run()
    assert node.outputs() == ["other/sub/a.wav.npz", "tiny/sub/a.wav.npz"]
    assert node.worker.counts["embedded"] == 1


def test_the_hop_is_stretched_where_it_is_late(make_node: MakeNode) -> None:
    """The output says with which hop it was made."""
    node = make_node(more='[overload]\npolicy = "stretch-hop"\n')
    node.write()
    node.journal.add(node.found())
    node.clock.now_s += 61
    node.run()
    assert node.entry().hop_size_s == 0.2


def test_the_newest_first(make_node: MakeNode) -> None:
    """What was found last is embedded first, where that is the policy."""
    node = make_node(more='[overload]\npolicy = "newest-first"\n')
    node.write("a.wav")
    node.journal.add(node.found())
    node.clock.now_s += 1
    node.write("b.wav")
    node.worker.step(node.found())
    assert node.outputs() == ["b.wav.npz"]


# --- quarantined ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"no sound at all", "unreadable", "a.wav: it is not a sound file"),
        (b"", "empty", "it is an empty file"),
    ],
    ids=["no sound", "no byte"],
)
def test_what_is_no_recording(
    node: Node, caplog: pytest.LogCaptureFixture, content: bytes, reason: str, detail: str
) -> None:
    """It is quarantined with its reason, once, and the log says so."""
    (node.recordings / "a.wav").write_bytes(content)
    os.utime(node.recordings / "a.wav", (1, 1))  # long ago: nobody will finish it
    node.run()
    entry = node.entry()
    assert (entry.state, entry.reason) == ("quarantined", reason)
    assert detail in entry.detail
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        f"quarantined ({reason}): {entry.detail}"
    ]
    node.run()
    assert node.worker.counts == {"quarantined": 1}


def test_a_recording_without_a_sample(node: Node) -> None:
    """It is told apart."""
    soundfile.write(node.recordings / "a.wav", np.zeros(0), 8000)
    os.utime(node.recordings / "a.wav", (1, 1))
    node.run()
    assert (node.entry().state, node.entry().reason) == ("quarantined", "empty")


def test_a_recording_that_holds_no_numbers(node: Node) -> None:
    """Not-a-number is no sound."""
    soundfile.write(node.recordings / "a.wav", np.full(8000, np.nan), 8000, subtype="FLOAT")
    node.run()
    assert (node.entry().state, node.entry().reason) == ("quarantined", "unreadable")


def test_a_channel_that_it_has_not(make_node: MakeNode, tmp_path: Path, tiny_bundle: Path) -> None:
    """What the model refuses is refused."""
    node = make_node(tiny_bundle)
    configuration = tmp_path / "sonyc-ml.toml"
    configuration.write_text(configuration.read_text() + "channel = 3\n")
    from sonyc_ml.node.config import load_config

    node.bundles.reload(load_config(configuration, {}).model)
    node.write()
    node.run()
    assert node.entry().state == "quarantined"
    assert "channel" in node.entry().detail


def test_a_name_that_no_output_can_have(node: Node) -> None:
    """Only this one is refused: the disk is well."""
    node.write("a" * 250 + ".wav")
    node.run()
    entry = node.entry("a" * 250 + ".wav")
    assert (entry.state, entry.reason) == ("quarantined", "output name")


def test_a_name_that_is_not_utf8(node: Node) -> None:
    """Good or bad, its name is no trouble."""
    good, bad = (os.fsdecode(name) for name in (b"good\xff.wav", b"bad\xff.wav"))
    node.write("plain.wav").rename(node.recordings / good)
    (node.recordings / bad).write_bytes(b"no sound at all")
    os.utime(node.recordings / bad, (1, 1))
    node.run()
    assert (node.entry(good).state, node.entry(bad).state) == ("done", "quarantined")
    assert node.outputs() == [f"{good}.npz"]


def test_a_time_that_no_clock_can_mean(node: Node) -> None:
    """A file from the year 2286, beyond 63 bits of nanoseconds, costs at most itself."""
    try:
        os.utime(node.write("a.wav"), ns=(10**19,) * 2)
    except OverflowError:
        pytest.skip("this system does not know such a time")
    if (node.recordings / "a.wav").stat().st_mtime_ns != 10**19:
        pytest.skip("this disk does not know such a time")
    node.write("b.wav")
    node.run()
    assert node.entry("b.wav").state == "done"


def test_an_extractor_that_fails_costs_one_recording(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried as often as is allowed, later each time; the others go on."""
    bundle = make_fragile(tmp_path, "Fragile")
    monkeypatch.syspath_prepend(tmp_path / "site")
    node = make_node(bundle, more="[recordings]\nmax_attempts = 2\n")
    write_loud(node.recordings / "a.wav")
    node.write("b.wav")
    for n_attempts in (1, 2):
        node.run()
        entry = node.entry()
        assert (entry.state, entry.reason, entry.n_attempts) == ("pending", "failed", n_attempts)
        node.clock.now_s = entry.due_s
    node.run()
    entry = node.entry()
    assert (entry.state, entry.reason) == ("quarantined", "failed")
    assert entry.detail == "embedding it failed: KeyError: 'too loud'"
    assert node.entry("b.wav").state == "done"
    assert caplog.text.count("Traceback") == 2
    assert "quarantined (failed): a.wav: embedding it failed" in caplog.text


def test_what_killed_the_process_is_not_begun_for_ever(make_node: MakeNode) -> None:
    """A recording that was begun and never ended is quarantined after so many times, whatever it waited for before."""
    node = make_node(more="[recordings]\nmax_attempts = 2\n")
    node.write()
    node.writing.add("a.wav")
    node.run()  # while it grew, it waited
    node.clock.now_s += 5
    for _ in range(2):
        assert node.journal.take() is not None
        node.restart()
    node.writing.clear()
    node.run()
    entry = node.entry()
    assert (entry.state, entry.reason) == ("quarantined", "killed the process")
    assert entry.detail == "the process was killed 2 times while it embedded this recording"
    assert node.outputs() == []


def test_a_retried_recording_has_its_attempts_again(make_node: MakeNode) -> None:
    """Who mended what killed it tries again from the start."""
    node = make_node(more="[recordings]\nmax_attempts = 1\n")
    node.write()
    node.journal.add(node.found())
    node.journal.take()
    node.run()
    assert node.entry().detail.startswith("the process was killed once ")
    node.journal.retry([node.entry()])
    node.run()
    assert node.entry().state == "done"


# --- unfinished -------------------------------------------------------------------------------------------------------


def test_a_young_unfinished_recording_waits(node: Node) -> None:
    """Its writer may yet finish it; then it is another, and what was seen of it is forgotten."""
    path = node.write(seconds=2.0)
    content = path.read_bytes()
    cut(path)
    node.run()
    entry = node.entry()
    assert (entry.state, entry.reason, entry.n_attempts) == ("pending", "unfinished", 0)
    path.write_bytes(content)
    node.run()
    assert (node.entry().state, node.entry().duration_s, node.entry().salvaged) == ("done", 2.0, False)


def test_an_old_unfinished_recording_is_salvaged(node: Node) -> None:
    """What there is of it is embedded, and marked."""
    cut(node.write(seconds=2.0))
    node.run()
    node.clock.now_s += 601
    node.run()
    entry = node.entry()
    assert (entry.state, entry.salvaged) == ("done", True)
    assert entry.duration_s is not None
    assert 0.9 < entry.duration_s < 1.0
    provenance = read_provenance(node.out / "a.wav.npz")
    assert provenance is not None
    assert provenance.salvaged
    assert node.worker.counts["salvaged"] == 1


def test_an_old_unfinished_recording_may_be_quarantined(make_node: MakeNode) -> None:
    """Where half a recording is of no use."""
    node = make_node(more='[recordings]\nunfinished = "quarantine"\nabandoned_s = 60\n')
    cut(node.write(seconds=2.0))
    node.run()
    assert node.entry().state == "pending"
    node.clock.now_s += 61
    node.run()
    assert (node.entry().state, node.entry().reason) == ("quarantined", "unfinished")
    assert node.outputs() == []


def test_an_unfinished_recording_is_due_when_it_is_abandoned(make_node: MakeNode) -> None:
    """It is asked for again and again, the last time just when nobody will finish it."""
    node = make_node(more="[recordings]\nabandoned_s = 10\n")
    path = node.write(seconds=2.0)
    cut(path)
    os.utime(path, (node.clock.now_s,) * 2)
    begin_s = node.clock.now_s
    node.run()
    dues: list[float] = []
    while node.entry().state == "pending" and len(dues) < 10:
        dues.append(node.entry().due_s - begin_s)
        node.clock.now_s = node.entry().due_s
        node.run()
    assert dues == pytest.approx([1, 3, 7, 10])


def test_an_unfinished_recording_from_the_future(node: Node) -> None:
    """A file's time that has not come yet is counted from when it was found."""
    path = node.write(seconds=2.0)
    cut(path)
    os.utime(path, (node.clock.now_s + 86400,) * 2)
    node.run()
    assert node.entry().state == "pending"
    node.clock.now_s += 601
    node.run()
    assert node.entry().state == "done"


def test_what_is_open_for_writing_is_left_alone(node: Node) -> None:
    """Though its header may say that it is whole; until nobody can mean it any more."""
    node.write()
    node.writing.add("a.wav")
    node.run()
    assert (node.entry().state, node.entry().reason) == ("pending", "growing")
    assert node.outputs() == []
    node.clock.now_s += 601
    node.run()
    assert node.entry().state == "done"


def test_what_changed_since_it_was_found_is_another(node: Node) -> None:
    """Its own turn comes; what it was is on record as overwritten."""
    node.write(seed=1)
    first = node.found()
    path = node.write(seed=2)
    os.utime(path, ns=(first[0].mtime_ns + 10**9,) * 2)
    node.worker.step(first)
    assert [(entry.state, entry.reason) for entry in node.journal.find("a.wav")] == [
        ("pending", ""),
        ("shed", "overwritten"),
    ]
    node.run()
    assert [entry.state for entry in node.journal.find("a.wav")] == ["done", "shed"]


@pytest.mark.parametrize("is_found", [False, True], ids=["seen at its turn", "found before"])
def test_what_is_written_over_is_told_once(node: Node, caplog: pytest.LogCaptureFixture, *, is_found: bool) -> None:
    """To who listens, to the log and to its summary, whether the worker or the journal notices."""
    first = node.identity(node.write(seed=1).name)
    os.utime(node.write(seed=2), ns=(first.mtime_ns + 10**9,) * 2)
    node.journal.add([first])
    node.worker.step(node.found() if is_found else [])
    node.run()
    ended = [(event.state, event.reason) for event in node.events if isinstance(event, RecordingEnded)]
    assert ended == [("shed", "overwritten"), ("done", "")]
    assert (node.worker.counts["shed"], caplog.text.count("shed (overwritten): a.wav: ")) == (1, 1)


def test_what_was_replaced_by_a_recording_that_is_known(node: Node) -> None:
    """Tried again though its name holds another one that is done: it is shed as overwritten, not called a killer."""
    node.write(seed=1)
    node.run()
    (first,) = node.journal.find("a.wav")
    os.utime(node.write(seed=2), ns=(first.identity.mtime_ns + 10**9,) * 2)
    node.run()
    node.journal.retry([first])
    for _ in range(6):
        node.worker.step()
    again = next(entry for entry in node.journal.find("a.wav") if entry.identity == first.identity)
    assert (again.state, again.reason) == ("shed", "overwritten")


# --- trouble that passes ----------------------------------------------------------------------------------------------


def test_a_recording_that_vanished_is_shed(node: Node) -> None:
    """Gone before its turn, and found again when it is back."""
    path = node.write()
    found = node.found()
    path.rename(node.recordings / "aside")
    node.worker.step(found)
    assert (node.entry().state, node.entry().reason) == ("shed", "vanished")
    assert "it was removed before its turn came" in node.entry().detail
    (node.recordings / "aside").rename(path)
    node.run()
    assert node.entry().state == "done"


def test_a_folder_that_vanished_is_waited_for(node: Node, tmp_path: Path) -> None:
    """A disk that is away comes back: nothing is given up."""
    node.write()
    found = node.found()
    node.recordings.rename(tmp_path / "away")
    node.worker.step(found)
    assert (node.entry().state, node.entry().reason) == ("pending", "unavailable")
    (tmp_path / "away").rename(node.recordings)
    node.clock.now_s += 1
    node.run()
    assert node.entry().state == "done"


def test_a_recording_that_cannot_be_read_for_now_waits_longer_each_time(node: Node) -> None:
    """The others go on; nothing is counted against it."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = node.write()
    path.chmod(0)
    delays = []
    for _ in range(11):
        node.run()
        assert (node.entry().reason, node.entry().n_attempts) == ("unavailable", 0)
        delays.append(node.entry().due_s - node.clock.now_s)
        node.clock.now_s = node.entry().due_s
    assert delays[:3] == pytest.approx([BACKOFF_S, 2 * BACKOFF_S, 4 * BACKOFF_S])
    assert delays[-1] == pytest.approx(MAX_BACKOFF_S)


def test_the_wait_is_doubled_up_to_a_bound(node: Node, tmp_path: Path) -> None:
    """However often it failed."""
    node.write()
    found = node.found()
    node.recordings.rename(tmp_path / "away")
    node.worker.step(found)
    delays = []
    for _ in range(40):
        delays.append(node.entry().due_s - node.clock.now_s)
        node.clock.now_s = node.entry().due_s
        node.worker.step()
    assert delays[:4] == pytest.approx([1, 2, 4, 8])
    assert delays[-1] == pytest.approx(MAX_BACKOFF_S)


def test_a_name_that_is_taken_costs_one_recording(node: Node) -> None:
    """Where a file has the place of an output's folder, that recording is quarantined, and the others go on."""
    node.write("sub/a.wav")
    node.write("z.wav")
    (node.out / "sub").write_text("a file where the folder should be")
    node.run()
    entry = node.entry("sub/a.wav")
    assert (entry.state, entry.reason, entry.n_attempts) == ("quarantined", "output name", 0)
    assert node.entry("z.wav").state == "done"


def test_what_cannot_be_stored_is_kept(node: Node) -> None:
    """The recording stays pending, nobody is blamed, and who runs the worker is told."""
    node.write("sub/a.wav")
    (node.out / "sub").symlink_to(node.out / "a disk that is away")
    with pytest.raises(StoreError, match="is not a folder"):
        node.run()
    entry = node.entry("sub/a.wav")
    assert (entry.state, entry.reason, entry.n_attempts) == ("pending", "not stored", 0)
    (node.out / "sub").unlink()
    node.clock.now_s += 1
    node.run()
    assert node.entry("sub/a.wav").state == "done"


@pytest.fixture
def full_node(make_node: MakeNode, tmp_path: Path, tiny_bundle: Path) -> Iterator[Node]:
    """A node whose journal lies on a small disk of its own, and which forgives nothing."""
    with mounted() as disk:
        more = f'[state]\nfolder = "{disk / "state"}"\n[recordings]\nmax_attempts = 1\n'
        node = make_node(tiny_bundle, more=more)
        yield node
        node.journal.close()


def test_what_cannot_be_written_down_is_written_down_first(full_node: Node) -> None:
    """While the journal's disk is full nothing new is begun, and no attempt is counted that nobody died of."""
    node = full_node
    for name in ("a.wav", "b.wav"):
        node.write(name)
    node.journal.add(node.found())
    disk = node.config.state_folder.parent
    ballast = fill_for_changes(node.journal, disk)
    for _ in range(5):
        with pytest.raises(StoreError, match="full"):
            node.worker.step()
        node.clock.now_s += 1
    counted = [entry.n_attempts for entry in node.journal.begun()]
    assert sum(counted) <= 1
    ballast.unlink()
    node.clock.now_s += 60
    node.run()
    assert node.journal.counts()["done"] == 2
    assert node.outputs() == ["a.wav.npz", "b.wav.npz"]


def test_an_end_that_did_not_fit_is_written_down_later(full_node: Node) -> None:
    """The disk fills up between the beginning of a recording and its end: the end is told before the next begins."""
    node = full_node
    node.write()
    node.journal.add(node.found())
    disk = node.config.state_folder.parent
    ballast = disk / "ballast"
    asked = node.is_being_written

    def fill_up(name: str) -> bool:  # asked after the recording was begun
        if not ballast.exists():
            fill_for_changes(node.journal, disk)
        return asked(name)

    node.is_being_written = fill_up
    with pytest.raises(StoreError, match="full"):
        node.worker.step()
    assert node.entry().n_attempts == 1
    assert node.outputs() == ["a.wav.npz"]
    with pytest.raises(StoreError, match="full"):
        node.worker.step()
    assert node.entry().n_attempts == 1
    ballast.rename(disk / "aside")
    os.truncate(disk / "aside", 0)
    node.is_being_written = asked
    node.clock.now_s += 60
    node.run()
    assert (node.entry().state, node.entry().n_attempts) == ("done", 0)


# --- shed -------------------------------------------------------------------------------------------------------------


def test_what_is_too_much_is_shed(make_node: MakeNode, caplog: pytest.LogCaptureFixture) -> None:
    """With the span of time that is lost, and a line in the log."""
    node = make_node(more="[overload]\nmax_recordings = 1\n")
    node.write("20240501T120000Z.wav", seconds=3.0)
    node.journal.add(node.found())
    node.clock.now_s += 1
    node.write("b.wav")
    node.journal.add(node.found())
    node.worker.shed_excess()
    entry = node.entry("20240501T120000Z.wav")
    assert (entry.state, entry.reason) == ("shed", "too many")
    assert (entry.start_s, entry.duration_s) == (1714564800.0, 3.0)
    assert node.worker.counts == {"shed": 1}
    assert "shed (too many): 20240501T120000Z.wav: 1 newer recordings" in caplog.text
    node.run()
    assert node.outputs() == ["b.wav.npz"]


def test_what_is_shed_need_not_be_readable(make_node: MakeNode) -> None:
    """What is not known of it is left open."""
    node = make_node(more="[overload]\nmax_age_s = 10\n")
    (node.recordings / "a.wav").write_bytes(b"no sound at all")
    node.journal.add(node.found())
    node.clock.now_s += 11
    node.worker.shed_excess()
    entry = node.entry()
    assert (entry.state, entry.reason, entry.start_s, entry.duration_s) == ("shed", "too old", None, None)


# --- a start ----------------------------------------------------------------------------------------------------------


def test_a_new_journal_is_made_from_the_outputs(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """What was done is known to be, though the recordings are long gone; other files are no outputs."""
    for name in ("a.wav", "sub/b.wav"):
        node.write(name)
        node.run()
    os.utime(node.write("a.wav", seed=2), ns=(1,) * 2)
    node.run()
    before = sorted(node.journal.entries(), key=lambda entry: entry.identity)
    shutil.rmtree(node.recordings)
    shutil.rmtree(node.config.state_folder)
    (node.out / "notes.csv").write_text("notes")
    (node.out / "half.wav.npz").write_bytes((node.out / "a.wav.npz").read_bytes()[:100])
    shutil.copy(node.out / "a.wav.npz", node.out / "elsewhere.npz")
    with caplog.at_level(logging.INFO):
        node.restart()
    after = sorted(node.journal.entries(), key=lambda entry: entry.identity)
    assert [(e.identity, e.state, e.start_s, e.duration_s, e.hop_size_s) for e in after] == [
        (e.identity, e.state, e.start_s, e.duration_s, e.hop_size_s) for e in before
    ]
    assert "a new journal: " in caplog.text


def test_only_what_every_bundle_embedded_is_done(make_node: MakeNode, tmp_path: Path, tiny_bundle: Path) -> None:
    """Of several bundles each must have its output, or the recording is embedded by those that lack it."""
    node = make_node(tiny_bundle, make_dense_bundle(tmp_path / "models" / "other.tflite", 6))
    for name in ("a.wav", "b.wav"):
        node.write(name)
    node.run()
    (node.out / "other" / "b.wav.npz").unlink()
    kept = (node.out / "tiny" / "b.wav.npz").stat().st_ino
    shutil.rmtree(node.config.state_folder)
    node.restart()
    assert [entry.identity.name for entry in node.journal.entries()] == ["a.wav"]
    node.run()
    assert node.journal.counts()["done"] == 2
    assert (node.out / "other" / "b.wav.npz").exists()
    assert (node.out / "tiny" / "b.wav.npz").stat().st_ino == kept


def test_a_start_that_was_killed_begins_again(node: Node) -> None:
    """A journal that was not made to its end is not taken for whole."""
    node.write()
    node.run()
    shutil.rmtree(node.config.state_folder)
    node.journal.close()
    half = open_journal(node.config.state_folder)
    half.close()
    node.start()
    assert node.entry().state == "done"


def test_what_the_journal_forgot_is_cleared_up(node: Node) -> None:
    """A journal that lost the end of its log no longer knows what was begun when the process was killed."""
    node.restart()
    (node.out / "sub").mkdir()
    (node.out / "sub" / TEMPORARY).write_bytes(b"half an output")
    node.write("sub/a.wav")
    node.run()
    assert node.outputs() == ["sub/a.wav.npz"]


def test_what_a_killed_process_left_is_cleared_up(node: Node, tmp_path: Path) -> None:
    """In the folder of the recording at hand; in every folder where the journal is new. What lives is left alone."""
    node.write("sub/a.wav")
    node.journal.add(node.found())
    node.journal.take()
    (node.out / "sub").mkdir()
    left, living, elsewhere = (
        node.out / "sub" / TEMPORARY,
        node.out / "sub" / ".fedcba9876543210.tmp",
        node.out / TEMPORARY,
    )
    for path in (left, living, elsewhere):
        path.write_bytes(b"half")
    program = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(living)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        node.restart()
        assert (left.exists(), living.exists(), elsewhere.exists()) == (False, True, True)
        node.journal.close()
        shutil.rmtree(node.config.state_folder)
        node.start()
        assert (living.exists(), elsewhere.exists()) == (True, False)
        process.kill()
    node.journal.add(node.found())
    node.journal.take()
    node.restart()
    assert not living.exists()


# --- another time is not another recording ----------------------------------------------------------------------------


def set_time(node: Node, name: str, shift_ns: int) -> Identity:
    """Change the time of a recording's file alone."""
    path = node.recordings / name
    mtime_ns = path.stat().st_mtime_ns + shift_ns
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return node.identity(name)


@pytest.mark.parametrize("output_format", ["npz", "csv"])
@pytest.mark.parametrize("shift_ns", [3600 * 10**9, -3600 * 10**9, -1_234_567_891, 7, 400 * 86400 * 10**9])
def test_a_touched_recording_is_the_same(shift_ns: int, output_format: str, make_node: MakeNode) -> None:
    """It is not embedded or counted again, and its output is proved with the new time; other bytes are another one."""
    node = make_node(more=f'format = "{output_format}"')
    for seed, name in enumerate(("a.wav", "b.wav")):
        node.write(name, seed=seed)
    node.run()
    before, embedding = node.outputs(), read_output(node.out / f"a.wav.{output_format}").embedding
    identity = set_time(node, "a.wav", shift_ns)
    node.events.clear()
    node.run()
    assert (node.entry().identity, node.entry().state) == (identity, "done")
    assert (node.events, node.outputs(), node.worker.counts["embedded"]) == ([], before, 2)
    assert proof(identity, node.recordings, [node.out], output_format) == ""
    np.testing.assert_array_equal(read_output(node.out / f"a.wav.{output_format}").embedding, embedding)
    content = bytearray((node.recordings / "b.wav").read_bytes())
    content[-1] ^= 1
    (node.recordings / "b.wav").write_bytes(content)
    set_time(node, "b.wav", 10**9)
    node.run()
    assert [entry.state for entry in node.journal.find("b.wav")] == ["done", "done"]
    assert len(node.outputs()) == 3


def test_a_touched_recording_of_a_name_that_was_used_again(node: Node) -> None:
    """It is found among those of its name, and its output keeps its own name's form."""
    node.write(seed=1)
    node.run()
    set_time(node, "a.wav", 0)
    node.write(seed=2)
    second = set_time(node, "a.wav", 5 * 10**9)
    node.run()
    touched = set_time(node, "a.wav", 3600 * 10**9)
    node.run()
    assert {entry.identity for entry in node.journal.find("a.wav")} >= {touched}
    assert second not in {entry.identity for entry in node.journal.find("a.wav")}
    assert node.outputs() == [f"a.wav.{touched.stamp}.npz", "a.wav.npz"]
    assert proof(touched, node.recordings, [node.out], "npz") == ""


def test_a_touched_recording_after_a_crash(node: Node) -> None:
    """Killed when the output had the new time and the journal had not: there is one recording still."""
    node.write()
    node.run()
    identity = set_time(node, "a.wav", 3600 * 10**9)
    path = node.out / "a.wav.npz"
    output = read_output(path)
    provenance = replace(output.provenance, recording_mtime_ns=identity.mtime_ns)
    write_output(replace(output, provenance=provenance), path)
    node.restart()
    node.run()
    assert (node.entry().identity, node.entry().state) == (identity, "done")


# --- time without power is no waiting ---------------------------------------------------------------------------------

DAY_S = 86400.0


def wait_with(node: Node, n: int = 3) -> None:
    """Recordings that wait, because somebody has them open."""
    names = [node.write(f"{i}.wav").name for i in range(n)]
    node.writing.update(names)
    for _ in range(n):
        node.worker.step(node.found())
    assert node.journal.counts()["pending"] == n


@pytest.mark.parametrize("off_s", [9 * DAY_S, 56 * 365 * DAY_S, -9 * DAY_S])
def test_time_without_power_is_no_waiting(off_s: float, make_node: MakeNode) -> None:
    """What waited is as old after a start as before, however long the node was off and whatever its clock says."""
    node = make_node(more="[overload]\nmax_age_s = 3600.0")
    wait_with(node)
    for _ in range(30):  # half an hour of work
        node.clock.now_s += 60
        node.worker.shed_excess()
    node.clock.now_s += off_s
    node.restart()
    node.worker.shed_excess()
    assert node.journal.counts() == {"pending": 3, "done": 0, "quarantined": 0, "shed": 0}
    (oldest,) = node.journal.oldest_pending()
    assert node.clock.now_s - oldest.found_s == pytest.approx(1800, abs=120)
    for _ in range(35):
        node.clock.now_s += 60
        node.worker.shed_excess()
    assert node.journal.counts()["shed"] == 3


def test_a_journal_that_does_not_say_when_the_work_ended(make_node: MakeNode) -> None:
    """Of an earlier version: the work ended with its last change."""
    node = make_node(more="[overload]\nmax_age_s = 3600.0")
    wait_with(node)
    with node.journal.transaction():
        node.journal.connection.execute("DELETE FROM facts WHERE key = 'at_work_s'")
    node.clock.now_s += 9 * DAY_S
    node.restart()
    node.worker.shed_excess()
    assert node.journal.counts()["pending"] == 3


@pytest.mark.parametrize("by_s", [9 * DAY_S, -9 * DAY_S])
def test_power_goes_right_after_the_clock_was_set(by_s: float, make_node: MakeNode) -> None:
    """What was found under the wrong clock is not older for it, also if the node is off before a minute is over."""
    node = make_node(more="[overload]\nmax_age_s = 3600.0")
    wait_with(node)
    node.clock.now_s += by_s
    node.worker.work_time.clock_was_set(by_s)
    node.clock.now_s += 5
    node.restart()
    node.worker.shed_excess()
    assert node.journal.counts()["pending"] == 3


def test_what_is_tried_again_while_the_daemon_is_off_is_new(make_node: MakeNode) -> None:
    """It has waited for no time, and is not of the future."""
    node = make_node()
    wait_with(node)
    node.clock.now_s += 9 * DAY_S
    node.journal.retry(node.journal.find("0.wav"))
    node.restart()
    assert node.entry("0.wav").found_s == node.clock.now_s


def test_the_time_at_work_is_not_written_every_turn(node: Node) -> None:
    """A card wears: it is written once a minute at most."""
    wait_with(node, 1)
    node.worker.shed_excess()
    before = node.journal.connection.total_changes
    for _ in range(50):
        node.clock.now_s += 1
        node.worker.shed_excess()
    assert node.journal.connection.total_changes == before
