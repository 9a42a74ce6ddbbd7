"""Where the sound of a recording is, and which files are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sonyc_ml.base.identity import Identity, state_of
from sonyc_ml.errors import OutputNameError
from sonyc_ml.node.config import Config
from sonyc_ml.web.pictures.recordings.sounds import open_sound, sound_of
from tests.support.bundles import configure

RETENTION = '[retention]\npolicy = "move"\nfolder = "done"\n'
NAME = "2026/11/a.wav"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a node that moves what is done."""
    return configure(tmp_path, Path("none.tflite"), more=RETENTION)


def put(path: Path, content: bytes = b"RIFF") -> Identity:
    """Write a file; returns the recording that it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Identity(NAME, *state_of(path.stat()))


def content_of(config: Config, identity: Identity) -> bytes | None:
    """What is in the file of a recording; None where it is not there."""
    with sound_of(config, identity) as path:
        return path.read_bytes() if path else None


def test_it_is_found_where_it_was_moved_to(config: Config, tmp_path: Path) -> None:
    """Under its own name, or with its time in it where another had the name."""
    identity = put(tmp_path / "recordings" / NAME)
    assert content_of(config, identity) == b"RIFF"
    moved = tmp_path / "done" / NAME
    moved.parent.mkdir(parents=True)
    (tmp_path / "recordings" / NAME).rename(moved)
    assert content_of(config, identity) == b"RIFF"
    moved.rename(moved.with_name(f"a.{identity.stamp}.wav"))
    put(moved, b"another")
    assert content_of(config, identity) == b"RIFF"


def test_what_is_another_file_is_not_opened(config: Config, tmp_path: Path) -> None:
    """By size and time; a folder, a pipe and a link, to a file or to a folder on the way, are none."""
    path, elsewhere = tmp_path / "recordings" / NAME, tmp_path / "elsewhere"
    identity = put(path)
    os.utime(path, ns=(0, identity.mtime_ns + 1))
    assert open_sound(config, identity) is None
    os.utime(path, ns=(0, identity.mtime_ns))
    assert content_of(config, identity) == b"RIFF"
    elsewhere.mkdir()
    path.rename(elsewhere / "a.wav")
    path.symlink_to(elsewhere / "a.wav")
    assert open_sound(config, identity) is None
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(elsewhere)
    assert path.read_bytes() == b"RIFF"
    assert open_sound(config, identity) is None
    for other in (path.parent.unlink, path.parent.mkdir, path.mkdir, path.rmdir, lambda: os.mkfifo(path)):
        other()
        assert open_sound(config, identity) is None


@pytest.mark.parametrize("name", ["../a.wav", "/etc/passwd", "", "a/../../b"])
def test_no_name_leads_out(config: Config, name: str) -> None:
    """Not even one that a damaged journal holds."""
    with pytest.raises(OutputNameError):
        open_sound(config, Identity(name, 1, 1))
