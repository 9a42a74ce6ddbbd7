"""Files, folders, patterns and lists to recordings, each with a name that no other has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sonyc_ml.batch.sources import Sources
from sonyc_ml.errors import ConfigError
from tests.conftest import write_recording


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive below the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "n1/b.wav",
        "n1/a.flac",
        "n2/sub/c.WAV",
        "n2/.hidden.wav",
        ".trash/d.wav",
        "n1/notes.txt",
        "n1/[x].wav",
    ):
        path = write_recording(tmp_path / "archive" / "any.wav")
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "archive" / name)
    return tmp_path / "archive"


def names(*inputs: object, **others: object) -> list[str]:
    """What the recordings of inputs are called."""
    return [source.name for source in Sources([str(given) for given in inputs], **others)]  # type: ignore[arg-type]


def test_a_folder_is_searched_in_order(archive: Path) -> None:
    """Folders are searched with their sub-folders, in the order of their names; what is hidden is left alone."""
    assert names(archive) == ["n1/[x].wav", "n1/a.flac", "n1/b.wav", "n2/sub/c.WAV"]
    assert Sources([str(archive)]).count() == 4


def test_files_are_named_by_themselves(archive: Path) -> None:
    """A single file is taken whatever its name, and called by it, or by its path from the root."""
    assert names(archive / "n1" / "notes.txt", archive / "n1" / "[x].wav") == ["notes.txt", "[x].wav"]
    assert names(archive / "n2" / "sub" / "c.WAV", root=str(archive)) == ["n2/sub/c.WAV"]
    with pytest.raises(ConfigError, match=r"does not lie in .*n1, the --root"):
        names(archive / "n2" / "sub" / "c.WAV", root=str(archive / "n1"))


def test_a_name_may_begin_with_dots(archive: Path) -> None:
    """Two dots at the beginning of a name lead nowhere: `..a.wav` lies in its root."""
    write_recording(archive / "..a.wav")
    assert names(archive / "..a.wav", root=str(archive)) == ["..a.wav"]


def test_patterns_are_named_below_their_fixed_part(archive: Path) -> None:
    """A quoted pattern finds what the shell would, recordings only, and keeps the folders that vary."""
    assert names(f"{archive}/*/*.wav") == ["n1/[x].wav", "n1/b.wav"]
    assert names("archive/n*/**/*") == ["n1/[x].wav", "n1/a.flac", "n1/b.wav", "n2/sub/c.WAV"]
    assert names("archive/n1/?.wav") == ["b.wav"]
    assert names("archive/n9/*.wav") == []


def test_lists_are_named_as_they_are_listed(archive: Path) -> None:
    """A listed path is the name, but for what would lead out of the folder of the outputs."""
    listed = ["archive/n1/b.wav", f"{archive}/n1/a.flac", "../x/archive/n1/b.wav"]
    assert names(listed=listed) == ["archive/n1/b.wav", f"{archive}/n1/a.flac".lstrip("/"), "x/archive/n1/b.wav"]


def test_two_recordings_never_share_an_output(archive: Path) -> None:
    """Where two inputs would overwrite each other's output, nothing is begun; the same one twice is one."""
    write_recording(archive / "n3" / "b.wav")
    with pytest.raises(ConfigError, match=r"n1/b.wav and .*n3/b.wav would have the same output, b.wav"):
        Sources([str(archive / "n1"), str(archive / "n3")]).count()
    assert Sources([str(archive / "n3"), str(archive / "n3")]).count() == 1


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """An input that is not there is named, and so is there being none."""
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        Sources([str(tmp_path / "nowhere")])
    with pytest.raises(ConfigError, match="there is nothing to embed"):
        Sources([])


def test_an_identity_is_the_state_of_the_file(archive: Path) -> None:
    """A recording that has changed is another one."""
    path = archive / "n1" / "b.wav"
    os.utime(path, ns=(5, 7))
    (source,) = Sources([str(path)])
    assert source.identity() == ("b.wav", path.stat().st_size, 7)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        source.identity()


def sound_files(folder: Path, *names: str) -> None:
    """Files of these names; what is in them is not looked at."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"sound")


def test_kinds_that_are_not_read_are_counted(tmp_path: Path) -> None:
    """Sound files of other kinds beside the recordings are counted by kind, in folders and patterns; others are not."""
    sound_files(tmp_path, "a.wav", "b.WMA", "in/c.wma", "d.m4a", "e.caf", "f.txt", ".g.wma", "h.opus", "i.oga")
    for given in (str(tmp_path), f"{tmp_path}/**/*"):
        sources = Sources([given])
        assert [task.name for task in sources] == ["a.wav", "h.opus", "i.oga"]
        assert sources.skipped == {".wma": 2, ".m4a": 1, ".caf": 1}
        assert sources.count() == 3
        assert sources.skipped == {".wma": 2, ".m4a": 1, ".caf": 1}


@pytest.mark.parametrize("bin_name", [".Trash-1000", "$RECYCLE.BIN", "System Volume Information", "#recycle", "@eaDir"])
def test_recycle_bins_are_left_alone(bin_name: str, tmp_path: Path) -> None:
    """What was thrown away is no recording, wherever the bin lies."""
    sound_files(tmp_path, "a.wav", f"{bin_name}/b.wav", f"in/{bin_name}/deep/c.mp3", f"in/{bin_name.strip('.')}.wav")
    for given in (str(tmp_path), f"{tmp_path}/**/*.wav"):
        sources = Sources([given])
        names = {task.name for task in sources}
        assert names == {"a.wav", f"in/{bin_name.strip('.')}.wav"}
        assert not sources.skipped


def test_linked_folders_are_followed_where_they_lead_somewhere_new(tmp_path: Path) -> None:
    """A link to another disk's folder is followed; one to above, to beside, or a second one to the same is not."""
    root, other = tmp_path / "archive", tmp_path / "other"
    sound_files(root, "a.wav", "sub/b.wav")
    sound_files(other, "c.wav")
    for name, target in {
        "elsewhere": other,
        "elsewhere2": other,
        "loop": root,
        "sub/up": tmp_path,
        "beside": root / "sub",
        "nowhere": tmp_path / "none",
    }.items():
        (root / name).symlink_to(target)
    (other / "back").symlink_to(root)
    (other / "self").symlink_to(other)
    assert [task.name for task in Sources([str(root)])] == ["a.wav", "elsewhere/c.wav", "sub/b.wav"]
