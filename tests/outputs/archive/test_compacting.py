"""Small parts into large ones: nothing is lost and nothing twice, wherever it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from sonyc_ml.cli import main
from sonyc_ml.outputs.archive.choice import choice_of
from sonyc_ml.outputs.archive.compacting import Merged, compact
from sonyc_ml.outputs.archive.store import Folder
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.reading import iter_outputs
from tests.support.archives import files_in, output_at, packed, same, starts

pytest.importorskip("pyarrow", reason="Parquet is an extra")

ALL = choice_of(None, None, None)
PROGRAM = """
import os, signal, sys
from pathlib import Path
from sonyc_ml.outputs.archive import compacting
from sonyc_ml.outputs.archive.choice import choice_of
from sonyc_ml.outputs.archive.store import Folder

class Killed(Folder):
    n_left = int(sys.argv[2])

    def write(self, key, write):
        self.step(), super().write(key, write)

    def remove(self, key):
        self.step(), super().remove(key)

    def step(self):
        self.n_left -= 1
        if self.n_left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

list(compacting.compact(Killed(Path(sys.argv[1])), choice_of(None, None, None), print))
"""


class EndedError(Exception):
    """What a step of merging ends with."""


class Ending(Folder):
    """A store whose process ends before a step."""

    def __init__(self, root: Path, n_left: int) -> None:
        super().__init__(root)
        self._n_left = n_left

    def write(self, key: str, write: Callable[[Path], None]) -> None:
        self._step()
        super().write(key, write)

    def remove(self, key: str) -> None:
        self._step()
        super().remove(key)

    def _step(self) -> None:
        self._n_left -= 1
        if self._n_left < 0:
            raise EndedError


@pytest.fixture
def outputs() -> list[Output]:
    """Of one day: nine recordings, of which parts hold three each, the last of them among the first."""
    return [output_at(start, whole=True) for start in starts(9)]


@pytest.fixture
def root(tmp_path: Path, outputs: list[Output]) -> Path:
    """An archive with parts of a day, and one output that is there twice."""
    for n, some in enumerate((outputs[:3], outputs[2:6:2] + outputs[6:], outputs[3:6:2])):
        packed(tmp_path / f"{n}", tmp_path / "root", "a", some)
    return tmp_path / "root"


def merged(root: Path) -> list[Merged]:
    return list(compact(Folder(root), ALL, pytest.fail))


def has_each_once(root: Path, outputs: list[Output]) -> bool:
    """Whether an archive gives just these, in the order of time."""
    found = sorted(iter_outputs(root), key=lambda output: output.provenance.start_time)
    assert [output.provenance.recording for output in found] == [output.provenance.recording for output in outputs]
    return all(same(one, other) for one, other in zip(found, outputs, strict=True))


def test_a_day_becomes_one_part(root: Path, outputs: list[Output]) -> None:
    """In the order of time, with the tables that packing all at once makes; a second run has nothing to do."""
    assert merged(root) == [Merged("node=a/date=2026-11-21", 3, 1, 1)]
    (part,) = root.glob("node=a/*/*.parquet")
    assert has_each_once(root, outputs)
    assert [output.provenance.recording for output in iter_outputs(part)] == [o.provenance.recording for o in outputs]
    assert [path.name for path in root.glob("*/node=a/*/*.parquet")] == [part.name] * 2
    assert merged(root) == []
    (once,) = packed(root.parent / "once", root.parent / "at once", "a", outputs).parts[:1]
    at_once = files_in(root.parent / "at once")
    for kind in ("detections/", "levels/"):
        assert files_in(root)[f"{kind}{once.key}".replace(once.path.name, part.name)] == at_once[f"{kind}{once.key}"]


def test_whoever_is_ended_at_any_step_may_begin_again(root: Path, outputs: list[Output]) -> None:
    """After each step everything is there once for readers, and another run leaves what any run leaves."""
    before = files_in(root)
    merged(root)
    wanted = files_in(root)
    for n_steps in range(100):
        for path in root.rglob("*.parquet"):
            path.unlink()
        for name, content in before.items():
            (root / name).write_bytes(content)
        try:
            list(compact(Ending(root, n_steps), ALL, pytest.fail))
        except EndedError:
            assert has_each_once(root, outputs)
            merged(root)
        else:
            break
        assert files_in(root) == wanted, n_steps
    assert n_steps > 8


@pytest.mark.parametrize("n_steps", [1, 4])
def test_a_killed_process_leaves_everything(root: Path, outputs: list[Output], n_steps: int) -> None:
    """By SIGKILL, as when the power is cut."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(root), str(n_steps)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert has_each_once(root, outputs)
    merged(root)
    assert has_each_once(root, outputs)
    assert len(list(root.rglob("*.parquet"))) == 3


def test_a_part_that_comes_again_later_goes_without_writing(root: Path, tmp_path: Path, outputs: list[Output]) -> None:
    """A repeated upload of what was merged holds nothing new."""
    merged(root)
    wanted = files_in(root)
    packed(tmp_path / "again", root, "a", outputs[:3])
    assert merged(root) == [Merged("node=a/date=2026-11-21", 2, 1, 3)]
    assert files_in(root) == wanted


def test_what_does_not_go_together_stays_apart(tmp_path: Path) -> None:
    """Other bundles, days and nodes keep parts of their own; what is damaged or large enough is left."""
    root = tmp_path / "root"
    for n, start in enumerate(starts(4)):
        packed(tmp_path / f"a{n}", root, "a", [output_at(start, bundle_sha256=("a0", "b1")[n % 2] * 32)])
        packed(tmp_path / f"b{n}", root, "b", [output_at(start + timedelta(days=n))])
    damaged = next(root.glob("node=a/*/*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    told: list[str] = []
    assert list(compact(Folder(root), ALL, told.append, target_bytes=1)) == []
    (one,) = compact(Folder(root), ALL, told.append)
    assert (one.n_before, one.n_after) == (3, 2)
    assert len(told) == 2
    assert damaged.exists()
    assert main(["compact", str(root)]) == 1


def test_the_folder_of_a_batch_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its ledger would not find its parts again."""
    (tmp_path / ".sonyc-ml").mkdir()
    assert main(["compact", str(tmp_path)]) == 2
    assert "knows its parts by their names" in capsys.readouterr().err
