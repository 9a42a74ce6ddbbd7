"""Clips of what was found: the very samples of the recording, and a word of each that is gone."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonyc_ml.analysis.clips import Wanted, cut_clips, wanted_in_outputs, wanted_in_table
from sonyc_ml.cli import main
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.facts import DaemonFacts, Facts
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.files import write_output
from tests.conftest import write_recording
from tests.support.outputs import output_of


def wanted(recording: str, start_s: float = 1.0, end_s: float = 2.0, sha256: str = "", node: str = "") -> Wanted:
    """A siren."""
    return Wanted(recording, node, start_s, end_s, "siren", 0.9, sha256, "")


def heard_at(start_s: float, label: str, number: int) -> Detection:
    """A second of a class."""
    return Detection(
        start_s=start_s, end_s=start_s + 1, label=label, class_number=number, score_max=0.9, score_mean=0.8
    )


def table(folder: Path) -> list[dict[str, str]]:
    """What is on record of the clips."""
    with (folder / "clips.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_clip_holds_the_samples_of_the_recording(subtype: str, tmp_path: Path) -> None:
    """All channels, to the last bit, with what is around it as far as there is any."""
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, (8000 * 4, 2))
    (tmp_path / "in" / "pole 1").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "pole 1" / "a.wav", sound, 8000, subtype=subtype)
    whole, _ = soundfile.read(tmp_path / "in" / "pole 1" / "a.wav", dtype="float64")
    asked = [wanted("a.wav", node="pole 1"), wanted("pole 1/a.wav", 3.5, 9.0)]
    made = cut_clips(asked, [tmp_path / "in"], tmp_path / "out", pad_s=0.5)
    for cut, (start, end) in zip(made, ((0.5, 2.5), (3.0, 4.0)), strict=True):
        clip, rate = soundfile.read(tmp_path / "out" / cut.clip, dtype="float64")
        assert (rate, soundfile.info(tmp_path / "out" / cut.clip).subtype) == (8000, subtype)
        np.testing.assert_array_equal(clip, whole[round(start * 8000) : round(end * 8000)])
        assert (cut.clip_start_s, cut.clip_end_s) == (start, end)
    assert [cut.clip for cut in made] == ["siren/000000_pole_1_a_1.00s.wav", "siren/000001_pole_1_a_3.50s.wav"]


def test_what_is_gone_is_told(tmp_path: Path) -> None:
    """A recording that is gone, whose name another one has, or that is shorter, has no clip; the others have theirs."""
    write_recording(tmp_path / "in" / "a.wav", seconds=3)
    write_recording(tmp_path / "in" / "b.wav", seconds=3)
    (tmp_path / "in" / "c.wav").write_bytes(b"no sound at all")
    asked = [
        wanted("gone.wav"),
        wanted("b.wav", sha256="5e" * 32),
        wanted("a.wav", 30, 31),
        wanted("../x"),
        wanted("c.wav"),
    ]
    made = cut_clips([*asked, wanted("a.wav")], [tmp_path / "in"], tmp_path / "out")
    whys = [cut.why for cut in made]
    assert whys[:4] == ["gone", "another recording has its name now", "it holds no sound at this time", "gone"]
    assert whys[4].startswith("cannot be read: ")
    assert whys[5] == "not known to be the same recording"
    assert [bool(cut.clip) for cut in made] == [False] * 5 + [True]
    rows = table(tmp_path / "out")
    assert ([row["why"] for row in rows], rows[0]["recording"]) == (whys, "gone.wav")


def test_detections_of_outputs_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command: some classes of a folder of outputs, of the recordings that were embedded and no others."""
    for name in ("a.wav", "sub/b.wav"):
        path = write_recording(tmp_path / "in" / name, seconds=3, seed=len(name))
        output = output_of(name, 4)
        heard = heard_at(0.5, "siren", 1), heard_at(1.0, "dog", 0)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        made = replace(output, detections=heard, provenance=replace(output.provenance, recording_sha256=sha256))
        write_output(made, tmp_path / "data" / f"{name}.npz")
        assert [one.label for one in wanted_in_outputs([("p", made)], {"dog"})] == ["dog"]
    asked = ["clips", str(tmp_path / "data"), "--class", "siren", "--recordings", str(tmp_path / "in")]
    asked += ["--output", str(tmp_path / "out"), "--pad", "0"]
    assert main(asked) == 0
    rows = table(tmp_path / "out")
    assert [(row["recording"], row["label"], row["why"]) for row in rows] == [
        ("a.wav", "siren", ""),
        ("sub/b.wav", "siren", ""),
    ]
    assert all(soundfile.info(tmp_path / "out" / row["clip"]).duration == pytest.approx(1) for row in rows)
    (tmp_path / "in" / "a.wav").unlink()
    capsys.readouterr()
    assert main([*asked, "--json"]) == 1
    said = capsys.readouterr()
    assert [json.loads(line)["why"] for line in said.out.splitlines()] == ["gone", ""]
    assert "no clip of a.wav: gone" in said.err


def test_a_table_says_what_to_cut(tmp_path: Path) -> None:
    """Rows of a csv with recordings and times; a table without them is refused with the name of what it lacks."""
    path = tmp_path / "matches.csv"
    path.write_text("cosine,node,recording,start_s,end_s,time\n0.5,p,a.wav,1,2,2026-11-21T12:00:00Z\n")
    (one,) = wanted_in_table(path)
    assert one == Wanted("a.wav", "p", 1.0, 2.0, "match", 0.5, "", "2026-11-21T12:00:00Z")
    assert not list(wanted_in_table(path, {"dog"}))
    path.write_text("recording,start_s\na.wav,1\n")
    with pytest.raises(ConfigError, match="has no column end_s; give a csv of"):
        list(wanted_in_table(path))
    path.write_text("recording,start_s,end_s\na.wav,x,2\n")
    with pytest.raises(ConfigError, match="line 2"):
        list(wanted_in_table(path))


@pytest.fixture
def matches(tmp_path: Path) -> list[str]:
    """The command for a csv of one match, in a recording that is there."""
    write_recording(tmp_path / "in" / "a.wav", seconds=3)
    (tmp_path / "matches.csv").write_text("recording,start_s,end_s\na.wav,1,2\n")
    return ["clips", str(tmp_path / "matches.csv"), "--output", str(tmp_path / "out")]


def test_a_journal_knows_where_recordings_are(
    tmp_path: Path, matches: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """That of a daemon; one that says nothing of it is told."""
    state = tmp_path / "state"
    journal = Journal(state)
    assert main([*matches, "--state", str(state)]) == 2
    assert f"the journal in {state} names no folder of recordings: give --recordings DIR" in capsys.readouterr().err
    journal.write_facts(Facts(daemon=DaemonFacts(pid=1, since="", version="1", folder=str(tmp_path / "in"))))
    journal.close()
    assert main([*matches, "--state", str(state)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 1 clip\n"
    (tmp_path / "in" / "a.wav").unlink()
    assert main([*matches, "--state", str(state)]) == 2
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 0 clips, 1 without one\n"


def test_recordings_that_the_daemon_moved_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where retention moves them to; under the name with a time, too, that one has if its own is taken there."""
    moved = tmp_path / "moved"
    paths = [write_recording(moved / name, seconds=3, seed=i) for i, name in enumerate(("a.wav", "a.20261121T12Z.wav"))]
    (tmp_path / "in").mkdir()
    journal = Journal(tmp_path / "state")
    journal.write_facts(Facts(daemon=DaemonFacts(folder=str(tmp_path / "in"), moved_to=str(moved))))
    journal.close()
    rows = [f"a.wav,1,2,{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]
    (tmp_path / "matches.csv").write_text("\n".join(["recording,start_s,end_s,recording_sha256", *rows]))
    command = ["clips", str(tmp_path / "matches.csv"), "--output", str(tmp_path / "out"), "--pad", "0"]
    assert main([*command, "--state", str(tmp_path / "state")]) == 0
    for path, row in zip(paths, table(tmp_path / "out"), strict=True):
        clip, _ = soundfile.read(tmp_path / "out" / row["clip"])
        np.testing.assert_array_equal(clip, soundfile.read(path)[0][8000:16000])
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 2 clips\n"


def test_where_and_what_has_to_be_said(tmp_path: Path, matches: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cut before; a csv has been chosen from already."""
    for flags, said in (
        ([], "nobody says where the recordings are kept: give --recordings DIR, or --state DIR of a daemon"),
        (["--recordings", str(tmp_path / "none")], "none is no folder; give the one in which recordings are kept"),
        (["--recordings", str(tmp_path / "in"), "--since", "2026-11-21"], "choose the rows of a csv yourself"),
    ):
        assert main([*matches, *flags]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_was_found(tmp_path: Path, matches: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Which is no error, and not all is well either."""
    assert main([*matches, "--class", "dog", "--recordings", str(tmp_path / "in")]) == 1
    assert capsys.readouterr().out.endswith(": 0 clips\n")
