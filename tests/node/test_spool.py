"""Recordings are handed out when they are finished, and once, however they come into the folder."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sonyc_ml.base.identity import Identity
from sonyc_ml.node.spool.spool import MISSING, POLLED, UNREADABLE, WATCHED, Spool
from tests.conftest import PATIENCE_S

LONG_S = PATIENCE_S
NEVER_S = 3600.0  # nothing settles within a test: only what was heard being finished comes
QUIET_S = 0.4  # how long nothing must come


class Reader:
    """Reads a spool on a thread of its own, and remembers what came before, as the journal does."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._found: queue.SimpleQueue[Identity] = queue.SimpleQueue()
        self._known: set[Identity] = set()
        self._stopped = False
        self._thread = threading.Thread(target=self._read)
        self._take()
        self._thread.start()

    def _read(self) -> None:
        while not self._stopped:
            self.spool.wait(LONG_S)
            self._take()

    def _take(self) -> None:
        for identity in self.spool.found():
            if identity not in self._known:
                self._known.add(identity)
                self._found.put(identity)

    def next(self) -> str:
        """Name of the next recording, relative to the folder."""
        return self._found.get(timeout=LONG_S).name

    def names(self, n: int) -> set[str]:
        return {self.next() for _ in range(n)}

    def is_quiet(self) -> bool:
        try:
            self._found.get(timeout=QUIET_S)
        except queue.Empty:
            return True
        return False

    def close(self) -> None:
        self._stopped = True
        self.spool.wake()
        self._thread.join(LONG_S)
        self.spool.close()
        assert not self._thread.is_alive()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    return folder


ReadFolder = Callable[..., Reader]


@pytest.fixture
def read(folder: Path) -> Iterator[ReadFolder]:
    """Start reading the folder, with the spool's own keywords."""
    readers: list[Reader] = []

    def start(settle_s: float = NEVER_S, **keywords: object) -> Reader:
        reader = Reader(Spool(folder, settle_s=settle_s, **keywords))  # type: ignore[arg-type]
        readers.append(reader)
        return reader

    yield start
    for reader in readers:
        reader.close()


def _write(path: Path, content: bytes = b"sound", age_s: float = 0) -> Path:
    path.write_bytes(content)
    if age_s:
        os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_a_closed_recording_is_handed_out(folder: Path, read: ReadFolder) -> None:
    """A recording comes as soon as its writer has closed it."""
    reader = read()
    _write(folder / "a.wav")
    assert reader.next() == "a.wav"


def test_a_growing_recording_is_left_alone(folder: Path, read: ReadFolder) -> None:
    """A recording that is still open does not come, however long it grows."""
    reader = read()
    with (folder / "a.wav").open("wb") as file:
        for _ in range(3):
            file.write(b"more")
            file.flush()
        assert reader.is_quiet()
    assert reader.next() == "a.wav"


def test_a_recording_moved_in_is_handed_out_at_once(folder: Path, read: ReadFolder, tmp_path: Path) -> None:
    """A recording written elsewhere and renamed into the folder is finished."""
    reader = read()
    _write(tmp_path / "a.wav").rename(folder / "a.wav")
    assert reader.next() == "a.wav"


def test_a_recording_renamed_within_the_folder_is_handed_out(folder: Path, read: ReadFolder) -> None:
    """A recorder may write under another name and rename when it is done."""
    reader = read()
    _write(folder / "a.wav.part").rename(folder / "a.wav")
    assert reader.next() == "a.wav"
    assert reader.is_quiet()


def test_a_recording_linked_in_is_handed_out_when_it_has_settled(
    folder: Path, read: ReadFolder, tmp_path: Path
) -> None:
    """A hard link is never heard closing; it comes when it has not changed for a while."""
    reader = read(settle_s=0.3)
    (folder / "a.wav").hardlink_to(_write(tmp_path / "a.wav"))
    assert reader.next() == "a.wav"


def test_a_second_hint_makes_nothing_older(folder: Path, read: ReadFolder, tmp_path: Path) -> None:
    """A recording that appears twice before it has settled, as by a scan and an event, is still waited for."""
    reader = read()
    written = _write(tmp_path / "a.wav")
    for _ in range(2):
        (folder / "a.wav").hardlink_to(written)
        assert reader.is_quiet()
        (folder / "a.wav").unlink()


def test_a_recording_that_vanished_is_forgotten(folder: Path, read: ReadFolder, tmp_path: Path) -> None:
    """A recording that is removed before it has settled costs nothing from then on."""
    reader = read(settle_s=2 * QUIET_S)
    (folder / "a.wav").hardlink_to(_write(tmp_path / "a.wav"))
    assert reader.is_quiet()
    (folder / "a.wav").unlink()
    assert reader.is_quiet()
    assert reader.is_quiet()
    start_s = time.process_time()
    assert reader.is_quiet()
    assert time.process_time() - start_s < QUIET_S / 4


def test_each_recording_comes_once(folder: Path, read: ReadFolder) -> None:
    """Created, closed and settled, a recording is still one recording."""
    reader = read(settle_s=0.1)
    names = {_write(folder / f"{i}.wav").name for i in range(50)}
    assert reader.names(50) == names
    assert reader.is_quiet()


def test_a_name_used_again_is_a_new_recording(folder: Path, read: ReadFolder) -> None:
    """What is written to an old name is embedded too."""
    reader = read()
    _write(folder / "a.wav", b"first")
    assert reader.next() == "a.wav"
    _write(folder / "a.wav", b"second")
    assert reader.next() == "a.wav"


def test_what_is_there_already_comes_first(folder: Path, read: ReadFolder) -> None:
    """A start finds the recordings of the time when nothing ran, in the order of their names."""
    (folder / "night").mkdir()
    for name in ("b.wav", "a.wav", "night/c.wav"):
        _write(folder / name, age_s=60)
    reader = read(settle_s=2.0)
    assert [reader.next() for _ in range(3)] == ["a.wav", "b.wav", "night/c.wav"]


def test_a_young_recording_at_the_start_may_still_grow(folder: Path, read: ReadFolder) -> None:
    """What was being written when the daemon started comes when it is closed."""
    with (folder / "a.wav").open("wb") as file:
        file.write(b"half")
        file.flush()
        reader = read()
        assert reader.is_quiet()
    assert reader.next() == "a.wav"


def test_a_recording_from_the_future_is_not_waited_for(folder: Path, read: ReadFolder) -> None:
    """A clock that was set back does not keep a recording from being embedded."""
    _write(folder / "a.wav", age_s=-86400)
    assert read(settle_s=0.2).next() == "a.wav"


def test_nested_folders_are_watched(folder: Path, read: ReadFolder, tmp_path: Path) -> None:
    """Folders made later, and folders moved in with recordings in them, are looked into."""
    reader = read(settle_s=0.3)
    (folder / "2026" / "11").mkdir(parents=True)
    _write(folder / "2026" / "11" / "a.wav")
    assert reader.next() == "2026/11/a.wav"
    (tmp_path / "card").mkdir()
    _write(tmp_path / "card" / "b.wav")
    (tmp_path / "card").rename(folder / "card")
    assert reader.next() == "card/b.wav"
    _write(folder / "card" / "c.wav")
    assert reader.next() == "card/c.wav"


def test_sub_folders_can_be_left_out(folder: Path, read: ReadFolder) -> None:
    """With recursive=False only the folder itself is looked at."""
    (folder / "sub").mkdir()
    _write(folder / "sub" / "old.wav", age_s=60)
    reader = read(settle_s=0.1, recursive=False)
    _write(folder / "sub" / "new.wav")
    _write(folder / "a.wav")
    assert reader.next() == "a.wav"
    assert reader.is_quiet()


def test_other_files_are_none_of_our_business(folder: Path, read: ReadFolder) -> None:
    """Other extensions and hidden files do not come; upper-case names do."""
    reader = read(settle_s=0.1, extensions=(".wav", ".flac"))
    for name in ("a.txt", ".hidden.wav", "b.wav.part", "c.flac", "D.WAV"):
        _write(folder / name)
    assert reader.names(2) == {"c.flac", "D.WAV"}
    assert reader.is_quiet()


def test_a_folder_behind_a_symbolic_link_is_watched(folder: Path, tmp_path: Path) -> None:
    """The link is followed once, at the start: inotify says nothing of a link."""
    link = tmp_path / "link"
    link.symlink_to(folder)
    reader = Reader(Spool(link, settle_s=NEVER_S))
    try:
        _write(link / "a.wav")
        assert reader.next() == "a.wav"
    finally:
        reader.close()


@pytest.mark.timing
def test_a_recording_moved_out_does_not_hold_up_the_next(folder: Path, read: ReadFolder, tmp_path: Path) -> None:
    """watchdog holds events for half a second behind a file that was moved out; a closed recording passes it."""
    _write(folder / "old.txt")
    reader = read()
    (folder / "old.txt").rename(tmp_path / "old.txt")
    start_s = time.monotonic()
    _write(folder / "a.wav")
    assert reader.next() == "a.wav"
    assert time.monotonic() - start_s < 0.4


def test_a_missing_folder_is_waited_for(tmp_path: Path) -> None:
    """A folder that is not there is a state, and is watched as soon as it is."""
    reader = Reader(Spool(tmp_path / "later"))
    try:
        assert (reader.spool.state.word, reader.spool.state.detail) == (MISSING, "it is not there")
        (tmp_path / "later").mkdir()
        _write(tmp_path / "later" / "a.wav", age_s=60)
        assert reader.next() == "a.wav"
        assert reader.spool.state.word == WATCHED
    finally:
        reader.close()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    """What cannot be read says why."""
    spool = Spool(_write(tmp_path / "a.wav"))
    assert list(spool.found()) == []
    assert (spool.state.word, spool.state.detail) == (UNREADABLE, "it cannot be read: Not a directory")


def test_a_folder_made_again_is_watched_again(folder: Path, read: ReadFolder) -> None:
    """A folder that is deleted and made again loses nothing but what was deleted."""
    reader = read(settle_s=0.1)
    _write(folder / "a.wav")
    assert reader.next() == "a.wav"
    shutil.rmtree(folder)
    folder.mkdir()
    _write(folder / "b.wav")
    assert reader.next() == "b.wav"


def test_a_link_to_another_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    """A symbolic link that is switched to another disk is watched there."""
    link, other = tmp_path / "link", tmp_path / "other"
    link.symlink_to(folder)
    other.mkdir()
    reader = Reader(Spool(link, settle_s=0.1))
    try:
        _write(other / "b.wav")
        (tmp_path / "new").symlink_to(other)
        (tmp_path / "new").rename(link)
        assert reader.next() == "b.wav"
    finally:
        reader.close()


def test_polling_finds_without_events(folder: Path, read: ReadFolder) -> None:
    """On a disk of another machine the folder is scanned every few seconds."""
    reader = read(settle_s=0.1, discovery="polling", poll_s=0.2)
    assert reader.spool.state.word == POLLED
    _write(folder / "a.wav")
    assert reader.next() == "a.wav"


def test_the_timer_finds_what_no_event_told(folder: Path, tmp_path: Path, read: ReadFolder) -> None:
    """Whatever goes wrong with events, a scan finds it."""
    reader = read(settle_s=0.1, rescan_s=0.3)
    assert reader.spool.watch is not None
    for observer in reader.spool.watch.observers:
        observer.unschedule_all()
    (reader.spool.watch.observers[0]).emitters.clear()
    _write(folder / "a.wav")
    assert reader.next() == "a.wav"


def test_lost_events_bring_a_scan(folder: Path, read: ReadFolder, caplog: pytest.LogCaptureFixture) -> None:
    """watchdog tells of an overflow by a log record alone; it is heard, and what was lost is found."""
    reader = read(settle_s=0.1)
    _write(folder / "a.txt").rename(folder / "b.txt")
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed")
    _write(folder / "a.wav", age_s=60)
    assert reader.next() == "a.wav"
    assert "were lost; it is scanned" in caplog.text


def test_who_writes_is_asked_of_the_kernel(folder: Path, read: ReadFolder) -> None:
    """A recording that somebody has open for writing is known to be, and nobody is ended by the question."""
    spool = read().spool
    with (folder / "a.wav").open("wb") as file:
        assert spool.is_being_written("a.wav")
        file.write(b"more")
    assert not spool.is_being_written("a.wav")
    assert not spool.is_being_written("nothing.wav")


def test_a_recorder_may_pause_longer_than_it_settles(folder: Path, read: ReadFolder) -> None:
    """What is still open comes once, when it is closed, and not as it was when its writer paused."""
    reader = read(settle_s=0.1)
    with (folder / "a.wav").open("wb") as file:
        assert reader.is_quiet()
        file.write(b"sound")
    assert reader.next() == "a.wav"
    assert reader.is_quiet()


def powerless(program: str) -> list[str]:
    """The command to run a program that may not look into everything."""
    command = [sys.executable, "-c", program]
    if os.geteuid() != 0:
        return command
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv here")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]


def test_a_sub_folder_that_cannot_be_read_is_told_once(folder: Path) -> None:
    """Recordings in it are not found, and nobody need guess why."""
    (folder / "locked").mkdir(mode=0o000)
    program = (
        "import logging; from pathlib import Path; from sonyc_ml.node.spool.spool import Spool; logging.basicConfig(); "
        f"spool = Spool(Path({str(folder)!r})); list(spool.found()); spool.rescan(); list(spool.found()); spool.close()"
    )
    result = subprocess.run(powerless(program), capture_output=True, text=True, check=True)
    assert result.stderr.count("locked: it cannot be looked into (Permission denied)") == 1


def test_a_folder_that_is_closed_to_us_is_told(folder: Path) -> None:
    """A folder that may be read no more is unreadable at the next look, and watched when it may be again."""
    program = (
        "import os; from pathlib import Path; from sonyc_ml.node.spool.spool import CHECK_S, Spool\n"
        f"now_s, folder = [0.0], Path({str(folder)!r})\n"
        "spool = Spool(folder, timer=lambda: now_s[0])\n"
        "for mode in (0o700, 0o000, 0o700):\n"
        "    folder.chmod(mode); spool.check(); print(spool.state); now_s[0] += CHECK_S\n"
        "spool.close()"
    )
    result = subprocess.run(powerless(program), capture_output=True, text=True, check=True)
    words = [line.split("'")[1] for line in result.stdout.splitlines()]
    assert words == [WATCHED, UNREADABLE, WATCHED], result.stdout
    assert "it cannot be read: Permission denied" in result.stdout


def test_another_way_to_the_same_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    """A link may be switched to the same folder at another place; what lies there is found within a minute."""
    link, now_s = tmp_path / "link", 0.0
    (tmp_path / "disk").mkdir()
    folder = folder.rename(tmp_path / "disk" / "recordings")
    link.symlink_to(folder)
    _write(folder / "a.wav", age_s=60)
    spool = Spool(link, timer=lambda: now_s)
    spool.check()
    (tmp_path / "disk").rename(tmp_path / "moved")
    link.unlink()
    link.symlink_to(tmp_path / "moved" / "recordings")
    now_s += 60.0
    assert [identity.name for identity in spool.found()] == ["a.wav"]
    spool.close()


@pytest.mark.parametrize(
    ("limit", "message"),
    [("max_inotify_instances", "raise fs.inotify.max_user_instances"), ("max_inotify_watches", "max_user_watches")],
)
def test_a_limit_of_inotify_is_explained(folder: Path, limit: str, message: str) -> None:
    """Where the kernel has no more watches to give, the folder is polled and the sysctl to raise is named."""
    unshare = shutil.which("unshare")
    program = (
        "from sonyc_ml.node.spool.spool import Spool; from pathlib import Path; "
        f"spool = Spool(Path({str(folder)!r})); spool.check(); print(spool.state)"
    )
    script = f'echo 0 > /proc/sys/user/{limit} && echo limited && exec {sys.executable} -c "{program}"'
    command = [unshare or "unshare", "--user", "--map-root-user", "sh", "-c", script]
    if unshare is None:
        pytest.skip("there is no unshare here")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if not result.stdout.startswith("limited\n"):
        pytest.skip(f"user.{limit} cannot be set in a user namespace here: {result.stderr.strip()}")
    assert "word='polled'" in result.stdout, result.stderr
    assert message in result.stdout


@pytest.mark.parametrize("name", [".hidden", "$RECYCLE.BIN", ".Trash-1000/files", "sub/.sync"])
def test_what_a_scan_leaves_out_no_event_brings(name: str, folder: Path, read: ReadFolder) -> None:
    """Recordings in hidden folders and recycle bins do not come, whether they are scanned or written later."""
    (folder / name).mkdir(parents=True)
    _write(folder / name / "old.wav", age_s=60)
    reader = read(settle_s=0.1)
    _write(folder / name / "new.wav")
    (folder / name / "moved.wav").write_bytes(b"sound")
    (folder / name / "moved.wav").rename(folder / name / "moved again.wav")
    _write(folder / "a.wav")
    assert reader.next() == "a.wav"
    assert reader.is_quiet()


def test_sound_that_is_left_alone_is_said_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files of other kinds are counted by kind, and said once a kind; so is each linked folder."""
    for name in ("a.wav", "b.mp3", "c.MP3", "d.ogg", "e.txt", ".f.mp3"):
        _write(folder / name, age_s=60)
    (folder / "linked").symlink_to(folder.parent)
    spool = Spool(folder, discovery="polling")
    for _ in range(2):
        spool.rescan()
        assert [identity.name for identity in spool.found()] == ["a.wav"]
        assert spool.left_out == {".mp3": 2, ".ogg": 1}
    _write(folder / "g.flac", age_s=60)
    spool.rescan()
    list(spool.found())
    spool.close()
    said = [record.getMessage() for record in caplog.records]
    assert [sum(kind in text for text in said) for kind in (".mp3", ".ogg", ".flac", "linked")] == [1, 1, 1, 1]
    assert len(said) == 4
