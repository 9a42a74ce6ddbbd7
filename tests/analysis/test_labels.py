"""What was heard becomes labels: when, for how long, and in the formats of others."""

from __future__ import annotations

import csv
import io
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonyc_ml.analysis.label_files import write_labels
from sonyc_ml.analysis.labels import Rules, label_output, runs, window_spans
from sonyc_ml.cli import main
from sonyc_ml.errors import ConfigError, OutputNameError
from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.rules import DetectionRules
from tests.conftest import floats
from tests.support.command import sonyc_ml
from tests.support.detections import scored, sparse
from tests.support.outputs import PROVENANCE

LABELS = ("dog", "siren")


def heard(
    name: str,
    scores: Sequence[Sequence[float]],
    *,
    window_size_s: float = 1.0,
    hop_size_s: float = 0.5,
    labels: tuple[str, ...] = LABELS,
    **provenance: object,
) -> Output:
    """An output of these scores, its windows laid over the middle of a recording that they just cover."""
    n_windows = len(scores)
    duration_s = (n_windows - 1) * hop_size_s + window_size_s
    made = replace(
        PROVENANCE,
        recording=name,
        n_samples=round(duration_s * 8000),
        sample_rate=8000,
        start_time="2026-11-21T23:59:59+01:00",
        window_size_s=window_size_s,
        hop_size_s=hop_size_s,
        **provenance,  # type: ignore[arg-type]
    )
    return Output(
        timestamps=np.arange(n_windows, dtype=np.float64) * hop_size_s,
        embedding=None,
        scores=np.array(scores, np.float32).reshape(n_windows, len(labels)),
        labels=labels,
        provenance=made,
    )


def spans_of(output: Output, rules: Rules) -> list[tuple[str, float, float]]:
    return [(span.label, round(span.start_s, 6), round(span.end_s, 6)) for span in label_output(output, rules)]


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Output, Rules]:
    """Any recording and any rules."""
    n_windows = draw(st.integers(0, 30))
    window_size_s = draw(st.sampled_from([0.29, 1.0, 3.0]))
    hop_size_s = window_size_s * draw(st.sampled_from([0.1, 0.5, 1.0, 2.5]))
    scores = draw(st.lists(floats(0, 1, width=32), min_size=n_windows, max_size=n_windows))
    lead_s = draw(st.sampled_from([0.0, 0.25 * hop_size_s]))
    output = heard(
        "a.wav", [[score] for score in scores], labels=("dog",), window_size_s=window_size_s, hop_size_s=hop_size_s
    )
    made = replace(output.provenance, n_samples=8000 * n_windows)
    output = replace(output, timestamps=output.timestamps - lead_s, provenance=made)
    seconds = st.sampled_from([0.0, 0.3, 1.0, 4.0])
    return output, Rules(threshold=draw(floats(0, 1)), merge_s=draw(seconds), min_duration_s=draw(seconds))


@settings(deadline=None)  # a machine may be slow
@given(labelled())
def test_spans_keep_the_rules(case: tuple[Output, Rules]) -> None:
    """Spans are disjoint, in order, inside the recording, further apart than is merged and as long as is asked for."""
    output, rules = case
    spans = label_output(output, rules)
    duration_s = output.provenance.n_samples / output.provenance.sample_rate
    for span in spans:
        assert 0 <= span.start_s < span.end_s <= duration_s
        assert span.end_s - span.start_s >= rules.min_duration_s - 1e-6
        assert span.score_mean <= span.score_max
        assert span.score_max >= np.float32(rules.threshold)
    for before, after in itertools.pairwise(spans):
        assert after.start_s - before.end_s > (rules.gap_s or 0)


@settings(deadline=None)  # a machine may be slow
@given(labelled())
def test_every_window_that_counts_is_covered(case: tuple[Output, Rules]) -> None:
    """A window from the threshold on lies in a span, and one below it lies in none where nothing is merged."""
    output, rules = case
    assert output.scores is not None
    spans = label_output(output, replace(rules, min_duration_s=0.0))
    duration_s = output.provenance.n_samples / output.provenance.sample_rate
    starts_s, ends_s = window_spans(output.timestamps, output.provenance.window_size_s, duration_s)
    for score, start_s, end_s in zip(output.scores[:, 0], starts_s, ends_s, strict=True):
        is_covered = any(span.start_s <= start_s and end_s <= span.end_s for span in spans)
        if score >= np.float32(rules.threshold) and end_s > start_s:
            assert is_covered
        elif rules.merge_s == 0 and end_s > start_s:
            assert not is_covered


@settings(deadline=None)  # a machine may be slow
@given(labelled())
def test_windows_tile_the_time(case: tuple[Output, Rules]) -> None:
    """Windows that overlap stand for spans that meet in the very same number; none reaches over its window."""
    output, _ = case
    size_s = output.provenance.window_size_s
    starts_s, ends_s = window_spans(output.timestamps, size_s, 1e9)
    if output.provenance.hop_size_s <= size_s:
        assert (starts_s[1:] == ends_s[:-1]).all()
    else:
        assert (starts_s[1:] > ends_s[:-1]).all()
    assert (starts_s >= output.timestamps - 1e-9).all()
    assert (ends_s <= output.timestamps + size_s + 1e-9).all()


@pytest.mark.parametrize(
    ("window_size_s", "hop_size_s", "expected"),
    [
        (1.0, 0.5, [(0.0, 0.75), (0.75, 1.25), (1.25, 2.0)]),
        (1.0, 1.0, [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]),
        (0.5, 1.0, [(0.0, 0.5), (1.0, 1.5), (2.0, 2.5)]),
    ],
)
def test_what_a_window_stands_for(window_size_s: float, hop_size_s: float, expected: list[tuple[float, float]]) -> None:
    """One hop around its middle where windows overlap, with the edges at both ends; else all of it."""
    spans = window_spans(np.arange(3, dtype=np.float64) * hop_size_s, window_size_s, 10.0)
    np.testing.assert_allclose(np.stack(spans, axis=1), expected)


def test_windows_reach_to_the_recording_and_no_further() -> None:
    """What was padded at both ends is cut off; a window outside the recording is heard in no label."""
    starts_s, ends_s = window_spans(np.array([-0.25, 0.25, 0.75, 2.0]), 1.0, 1.5)
    np.testing.assert_allclose(starts_s, [0, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(ends_s, [0.5, 1.0, 1.5, 1.5])
    assert runs(np.ones(4, bool), starts_s, ends_s).tolist() == [[0, 2]]


def test_spans_are_merged_before_short_ones_go() -> None:
    """Two short spans close together are one long one; a short one alone is left out."""
    scores = [[1], [0], [1], [0], [0], [0], [1], [0]]
    output = heard("a.wav", scores, hop_size_s=1.0, labels=("dog",))
    assert spans_of(output, Rules()) == [("dog", 0, 1), ("dog", 2, 3), ("dog", 6, 7)]
    assert spans_of(output, Rules(merge_s=1)) == [("dog", 0, 3), ("dog", 6, 7)]
    assert spans_of(output, Rules(merge_s=1, min_duration_s=3)) == [("dog", 0, 3)]
    (span,) = label_output(output, Rules(merge_s=1, min_duration_s=3))
    assert span.score_mean == pytest.approx(2 / 3)
    assert span.score_max == 1


def test_classes_have_thresholds_of_their_own() -> None:
    """Each class is compared with its own threshold; those that are not asked for are left out."""
    output = heard("a.wav", [[0.4, 0.4], [0.6, 0.6]], hop_size_s=1.0)
    assert spans_of(output, Rules(thresholds={"siren": 0.4})) == [("siren", 0, 2), ("dog", 1, 2)]
    assert spans_of(output, Rules(classes=("dog",))) == [("dog", 1, 2)]
    unnamed = replace(output, labels=())
    assert spans_of(unnamed, Rules(classes=("scores_1",))) == [("scores_1", 1, 2)]


def test_scores_that_are_no_numbers_are_not_heard() -> None:
    """A score that is no number counts for nothing, whatever the threshold."""
    assert spans_of(heard("a.wav", [[np.nan, 0.0], [0.0, np.nan]], hop_size_s=1.0), Rules(threshold=0.0)) == [
        ("siren", 0, 1),
        ("dog", 1, 2),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 1.5}, r"a threshold must be in \[0, 1\]: is 1.5"),
        ({"threshold": float("nan")}, r"a threshold must be in \[0, 1\]"),
        ({"thresholds": {"dog": -0.1}}, r"that of dog is -0.1"),
        ({"merge_s": -1}, "merge_s must be a number of seconds that is not below 0, and is -1"),
        ({"min_duration_s": float("inf")}, "min_duration_s must be a number of seconds"),
    ],
)
def test_rules_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    """A threshold that no score can have, or a length that is none, is a mistake."""
    with pytest.raises(ValueError, match=message):
        Rules(**values)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Outputs of three recordings, in both formats; one has a name that is not UTF-8, in one nothing is heard."""
    one = heard("a.wav", [[0.9, 0.1], [0.8, 0.1], [0.1, 0.7]], hop_size_s=1.0)
    write_output(one, tmp_path / "embeddings" / "a.wav.npz")
    odd = heard("sub/b\udcff.wav", [[0.9, 0.1]], labels=("dog\tbig\nloud", "siren, far"))
    write_output(odd, tmp_path / "embeddings" / "sub" / "b\udcff.wav.csv")
    write_output(heard("c.wav", [[0.0, 0.0]]), tmp_path / "embeddings" / "c.wav.npz")
    return tmp_path


def test_audacity_tracks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A track for each recording, its lines begin, end and label; one without labels is empty."""
    arguments = ["labels", str(folder / "embeddings"), "--format", "audacity", "--output", str(folder / "labels")]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{folder / 'labels'}: 3 labels in 3 recordings\n"
    track = (folder / "labels" / "a.wav.txt").read_text()
    assert track == "0.000000\t2.000000\tdog\n2.000000\t3.000000\tsiren\n"
    assert (folder / "labels" / "sub" / "b\udcff.wav.txt").read_text() == "0.000000\t1.000000\tdog big loud\n"
    assert (folder / "labels" / "c.wav.txt").read_bytes() == b""


def test_raven_tables(folder: Path) -> None:
    """A selection table for each recording, with the columns that Raven asks for, as high as the recording."""
    arguments = ["labels", str(folder / "embeddings"), "--format", "raven", "--output", str(folder / "labels")]
    assert main(arguments) == 0
    table = (folder / "labels" / "a.wav.Table.1.selections.txt").read_text()
    rows = list(csv.DictReader(io.StringIO(table), delimiter="\t"))
    assert rows[1] == {
        "Selection": "2",
        "View": "Spectrogram 1",
        "Channel": "1",
        "Begin Time (s)": "2.000000",
        "End Time (s)": "3.000000",
        "Low Freq (Hz)": "0.0",
        "High Freq (Hz)": "4000.0",
        "Begin File": "a.wav",
        "Label": "siren",
        "Score": "0.7000",
    }
    odd = (folder / "labels" / "sub" / "b\udcff.wav.Table.1.selections.txt").read_bytes()
    assert odd.splitlines()[1].split(b"\t")[7:9] == [b"b\xff.wav", b"dog big loud"]
    assert (folder / "labels" / "c.wav.Table.1.selections.txt").read_text().count("\n") == 1


def test_one_csv_of_all(folder: Path) -> None:
    """One row a label, of all recordings, with its time of day in the recording's own zone, over midnight."""
    arguments = ["labels", str(folder / "embeddings"), "--format", "csv", "--output", str(folder / "labels")]
    assert main(arguments) == 0
    text = (folder / "labels" / "labels.csv").read_bytes().decode(errors="surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows[1] == {
        "recording": "a.wav",
        "start_s": "2.000000",
        "end_s": "3.000000",
        "start_time": "2026-11-22T00:00:01.000+01:00",
        "label": "siren",
        "score_mean": "0.7",
        "score_max": "0.7",
    }
    assert [row["recording"] for row in rows] == ["a.wav", "a.wav", "sub/b\udcff.wav"]
    assert rows[2]["label"] == "dog\tbig\nloud"


BIRD = "Turdus merula_Eurasian Blackbird"


def test_birdnets_csv(tmp_path: Path) -> None:
    """The columns that BirdNET-Analyzer and birda write, with both names of a class, a file for each recording."""
    outputs = [heard("night/a.wav", [[0.9, 0.1], [0.9, 0.75]], labels=(BIRD, "siren"), hop_size_s=1.0)]
    outputs.append(heard("b.wav", [[0.1, 0.1]], labels=(BIRD, "siren")))
    assert write_labels(outputs, {"merge_s": False}, "birdnet", tmp_path) == (2, 3)
    assert (tmp_path / "night" / "a.wav.BirdNET.results.csv").read_text().splitlines() == [
        "Start (s),End (s),Scientific name,Common name,Confidence,File",
        "0.0,1.0,Turdus merula,Eurasian Blackbird,0.9000,night/a.wav",
        "1.0,2.0,Turdus merula,Eurasian Blackbird,0.9000,night/a.wav",
        "1.0,2.0,siren,siren,0.7500,night/a.wav",
    ]
    assert len((tmp_path / "b.wav.BirdNET.results.csv").read_text().splitlines()) == 1


def test_kaleidoscopes_csv(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """One table of all recordings, whose columns name folder and file apart; to a folder as to the terminal."""
    outputs = [heard("night/12/a.wav", [[0.9, 0.1], [0.9, 0.1]], labels=(BIRD, "siren"), hop_size_s=1.0)]
    outputs.append(heard("b.wav", [[0.1, 0.6]], labels=(BIRD, "siren")))
    assert write_labels(outputs, None, "kaleidoscope", tmp_path) == (2, 2)
    lines = [
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,scientific_name,common_name,confidence",
        ",night/12,a.wav,0.0,2.0,Eurasian Blackbird,Turdus merula,Eurasian Blackbird,0.9000",
        ",,b.wav,0.0,1.0,siren,siren,siren,0.6000",
    ]
    assert (tmp_path / "kaleidoscope.csv").read_text().splitlines() == lines
    write_output(outputs[0], tmp_path / "a.wav.npz")
    assert main(["labels", str(tmp_path / "a.wav.npz"), "--format", "kaleidoscope"]) == 0
    assert capfdbinary.readouterr().out.decode().splitlines() == lines[:2]


def test_a_time_that_nobody_knows_is_empty(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Where the recording's beginning is not known, neither is the label's; a time without a zone is UTC."""
    for name, start_time in (("a.wav", ""), ("b.wav", "2026-11-21T10:00:00")):
        output = heard(name, [[0.9, 0.1]])
        made = replace(output.provenance, start_time=start_time)
        write_output(replace(output, provenance=made), tmp_path / f"{name}.npz")
    assert main(["labels", str(tmp_path), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capfdbinary.readouterr().out.decode())))
    assert [row["start_time"] for row in rows] == ["", "2026-11-21T10:00:00.000+00:00"]


def test_one_recording_goes_to_the_terminal(folder: Path) -> None:
    """Without --output the labels of one output, or the csv of all, are what the program prints."""
    command = [sys.executable, "-m", "sonyc_ml", "labels", "--format"]
    one = [*command, "audacity", "embeddings/a.wav.npz", "--classes", "siren"]
    ran = subprocess.run(one, cwd=folder, capture_output=True, check=True)
    assert ran.stdout == b"2.000000\t3.000000\tsiren\n"
    ran = subprocess.run([*command, "csv", "embeddings"], cwd=folder, capture_output=True, check=True)
    assert b"sub/b\xff.wav,0.000000,1.000000," in ran.stdout
    ran = subprocess.run([*command, "raven", "embeddings"], cwd=folder, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert b"raven has a file for each recording, and there are several; give --output DIR" in ran.stderr


def test_without_a_format_it_is_csv(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """What --format csv writes, to the terminal and into a folder, and one line on standard error says so."""
    source = str(folder / "embeddings")
    for place in ("-", str(folder / "made")):
        assert main(["labels", source, "--output", place]) == 0
        said, note = capfdbinary.readouterr()
        assert note == b"the labels are written as csv; --format names others\n"
        assert main(["labels", source, "--output", place, "--format", "csv"]) == 0
        assert capfdbinary.readouterr() == (said, b"")
    assert (folder / "made" / "labels.csv").exists()


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["labels", *arguments]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_labelled_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No outputs, none with scores, unknown classes and thresholds out of range are each one sentence."""
    one = str(folder / "embeddings" / "a.wav.npz")
    (folder / "empty").mkdir()
    assert "there are no outputs in" in complaint([str(folder / "empty"), "--format", "csv"], capsys)
    assert "has no class cat; its classes are dog, siren" in complaint(
        [one, "--format", "csv", "--classes", "cat"], capsys
    )
    assert "has no class cat" in complaint([one, "--format", "csv", "--threshold", "cat=0.5"], capsys)
    assert "must be in [0, 1]: that of dog is 7" in complaint(
        [one, "--format", "csv", "--threshold", "0.5,dog=7"], capsys
    )
    assert "--threshold takes X and LABEL=X" in complaint([one, "--format", "csv", "--threshold", "loud"], capsys)
    silent = replace(heard("a.wav", [[0.5, 0.5]]), embedding=np.ones((1, 3), np.float32), scores=None, labels=())
    write_output(silent, folder / "silent.npz")
    told = complaint([str(folder / "silent.npz"), "--format", "csv"], capsys)
    assert "the output of a.wav has no scores" in told
    assert "sonyc-ml bundle make --head" in told
    (folder / "bad.npz").write_bytes(b"PK")
    assert "bad.npz is no output, or damaged" in complaint([str(folder / "bad.npz"), "--format", "csv"], capsys)


def test_labels_with_commas_can_be_named(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A label may hold commas: before =X in --threshold, and in a file for --classes."""
    output = heard("a.wav", [[0.5, 0.5]], labels=("Speech, far", "Dog"))
    write_output(output, tmp_path / "a.wav.npz")
    (tmp_path / "classes").write_text("Speech, far\n")
    flags = ["--threshold", "0.6,Speech, far=0.4", "--classes", str(tmp_path / "classes")]
    assert main(["labels", str(tmp_path / "a.wav.npz"), "--format", "audacity", *flags]) == 0
    assert capfdbinary.readouterr().out == b"0.000000\t1.000000\tSpeech, far\n"


def test_a_name_used_again_has_its_time_in_it(tmp_path: Path) -> None:
    """Two recordings of one name have labels of their own; two outputs of one recording are refused."""
    first, second = heard("a.wav", [[0.9, 0.1]]), heard("a.wav", [[0.1, 0.9]], recording_mtime_ns=10**18 + 1)
    write_labels([first, second], Rules(), "audacity", tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a.wav.20010909T014640.000000001Z.txt", "a.wav.txt"]
    with pytest.raises(ConfigError, match=r"there are two outputs of the same recording a.wav"):
        write_labels([first, second, first], Rules(), "audacity", tmp_path)


@pytest.mark.parametrize("name", ["../a.wav", "/a.wav", "sub/../../a.wav", ""])
def test_no_label_lies_outside_the_folder(name: str, tmp_path: Path) -> None:
    """An output that names a recording elsewhere does not make its labels land there."""
    with pytest.raises(OutputNameError, match="is refused, as"):
        write_labels([heard(name, [[0.9, 0.1]])], Rules(), "raven", tmp_path / "labels")
    assert not list(tmp_path.rglob("*.txt"))
    left_out: list[str] = []
    outputs = [heard(name, [[0.9, 0.1]]), heard("good.wav", [[0.9, 0.1]])]
    assert write_labels(outputs, Rules(), "audacity", tmp_path / "labels", left_out.append).n_recordings == 1
    assert [path.name for path in tmp_path.rglob("*.txt")] == ["good.wav.txt"]
    assert len(left_out) == 1


def test_a_name_in_the_way_costs_itself_alone(tmp_path: Path) -> None:
    """Labels that would be a file and a folder at once are left out with the reason; the others are written."""
    left_out: list[str] = []
    outputs = [heard(name, [[0.9, 0.1]]) for name in ("a.wav", "a.wav.txt/b.wav", "c.wav")]
    assert write_labels(outputs, Rules(), "audacity", tmp_path, left_out.append).n_recordings == 2
    assert ["is a file, not a folder" in reason for reason in left_out] == [True]


def test_a_csv_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """A csv that cannot be finished leaves the one of before."""
    (tmp_path / "labels.csv").write_text("before")
    silent = replace(heard("b.wav", [[0.5, 0.5]]), scores=None, labels=())
    with pytest.raises(ConfigError, match="has no scores"):
        write_labels([heard("a.wav", [[0.9, 0.1]]), silent], Rules(), "csv", tmp_path)
    assert (tmp_path / "labels.csv").read_text() == "before"
    assert os.listdir(tmp_path) == ["labels.csv"]


def test_a_class_that_no_output_names_is_reported(tmp_path: Path) -> None:
    """Outputs that hold detections alone do not know every class: a name that none of them has is said to be unseen."""
    output = scored("a.wav", np.array([[0.9, 0.1], [0.2, 0.1]], np.float32), ("siren", "dog"))
    write_output(sparse(output, DetectionRules(threshold=0.5), None), tmp_path / "a.wav.npz")
    found = sonyc_ml("labels", tmp_path, "--format", "csv", "--output", "-", "--classes", "siren,sirn")
    assert found.returncode == 0
    assert "siren" in found.stdout
    assert found.stderr == "sonyc-ml: warning: no output names sirn: not heard, or spelled in another way\n"
    assert not sonyc_ml("labels", tmp_path, "--format", "csv", "--output", "-", "--classes", "siren").stderr
