"""Scores become detections, the same however they come, and whatever file holds them."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonyc_ml.cli import main
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs import parquet
from sonyc_ml.outputs.detections import Detection, Detector, highest_of, whole_windows, window_spans
from sonyc_ml.outputs.files import read_heard, read_output, write_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.parquet_detections import table_folder, write_table
from sonyc_ml.outputs.reading import iter_outputs, read_detections, read_embeddings
from sonyc_ml.outputs.rules import DetectionRules, Kept
from tests.conftest import floats, needs
from tests.support.detections import detected, scored, sparse

LABELS = ("=dog\t", "siren, far", "Turdus merula_Eurasian Blackbird")
SCORES = st.lists(st.tuples(*[floats(0, 1, width=32)] * 3), max_size=25)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Output, DetectionRules]:
    """Any scores and any rules."""
    coarse = draw(st.booleans())  # many scores are equal
    scores = np.array(draw(SCORES), np.float32).reshape(-1, 3)
    if coarse:
        scores = (np.round(scores * 4) / 4).astype(np.float32)
    hop_s = draw(st.sampled_from([0.3, 1.0, 3.0, 4.5]))
    seconds = st.sampled_from([0.0, 0.3, 1.0, 5.0])
    rules = DetectionRules(
        threshold=draw(floats(0, 1)),
        thresholds=draw(st.dictionaries(st.sampled_from(LABELS), floats(0, 1))),
        classes=tuple(draw(st.lists(st.sampled_from(LABELS), unique=True))),
        top_k=draw(st.none() | st.integers(1, 3)),
        merge_s=draw(st.none() | seconds),
        min_duration_s=draw(seconds),
        cool_down_s=draw(seconds),
    )
    return scored("a.wav", scores, LABELS, hop_s=hop_s), rules


def by_a_loop(output: Output, rules: DetectionRules) -> list[tuple[int, float, float, float, float]]:
    """The same, class by class and window by window: class, start, end, highest, mean."""
    assert output.scores is not None
    spans_of = whole_windows if rules.gap_s is None else window_spans
    starts_s, ends_s = spans_of(output.timestamps, output.provenance.window_size_s, output.provenance.duration_s)
    found = []
    for number, label in enumerate(LABELS):
        if rules.classes and label not in rules.classes:
            continue
        threshold = np.float32(rules.thresholds.get(label, rules.threshold))
        asked = [i for i, name in enumerate(LABELS) if not rules.classes or name in rules.classes]
        runs: list[list[int]] = []
        for window, row in enumerate(output.scores):
            order = sorted(asked, key=lambda i: (-row[i], i))
            if row[number] < threshold or (rules.top_k and number not in order[: rules.top_k]):
                continue
            gap_s = starts_s[window] - ends_s[runs[-1][-1]] if runs else np.inf
            if rules.gap_s is not None and gap_s <= rules.gap_s + 1e-9:
                runs[-1].append(window)
            else:
                runs.append([window])
        cool_s = -np.inf
        for run in runs:
            start_s, end_s = starts_s[run[0]], ends_s[run[-1]]
            if end_s - start_s < rules.min_duration_s - 1e-9 or start_s < cool_s - 1e-9:
                continue
            cool_s = end_s + rules.cool_down_s if rules.cool_down_s else cool_s
            highest = float(output.scores[run, number].max())
            mean = float(output.scores[run[0] : run[-1] + 1, number].astype(np.float64).mean())
            found.append((number, float(start_s), float(end_s), highest, min(mean, highest)))
    return sorted(found, key=lambda row: (row[1], row[2], row[0]))


@settings(deadline=None)  # a machine may be slow
@given(cases())
def test_detections_are_those_of_a_plain_loop(case: tuple[Output, DetectionRules]) -> None:
    """Whatever the scores and the rules, window by window in a loop gives the same."""
    output, rules = case
    found = [(d.class_number, d.start_s, d.end_s, d.score_max, d.score_mean) for d in detected(output, rules)]
    expected = by_a_loop(output, rules)
    assert [row[:4] for row in sorted(found, key=lambda row: (row[1], row[2], row[0]))] == [row[:4] for row in expected]
    means = [row[4] for row in sorted(found, key=lambda row: (row[1], row[2], row[0]))]
    np.testing.assert_allclose(means, [row[4] for row in expected], rtol=1e-12)


@settings(deadline=None)  # a machine may be slow
@given(cases(), st.lists(st.integers(0, 7), max_size=8))
def test_detections_do_not_depend_on_how_scores_come(case: tuple[Output, DetectionRules], cuts: list[int]) -> None:
    """In one piece, in pieces of any length, or in a file beside memory: equal to the last bit."""
    output, rules = case
    assert output.scores is not None
    with Detector(rules, output.labels) as detector:
        borders = [0, *itertools.accumulate(cuts), len(output.scores)]
        for first, end in itertools.pairwise(sorted(min(border, len(output.scores)) for border in borders)):
            detector.add(output.scores[first:end])
        made = output.provenance
        assert detector.detections(output.timestamps, made.window_size_s, made.duration_s) == detected(output, rules)


def test_too_many_for_memory_are_found_in_a_file(tmp_path: Path) -> None:
    """Hundreds of thousands of windows that count give what they give in memory, and nothing is left behind."""
    scores = np.random.default_rng(0).random((200_000, 3), np.float32)
    output = scored("a.wav", scores, LABELS, window_size_s=1.0, hop_s=0.1)
    rules = DetectionRules(threshold=0.2, min_duration_s=3.0)
    with Detector(rules, LABELS, tmp_path) as detector:
        for first in range(0, len(scores), 10_000):
            detector.add(scores[first : first + 10_000])
        found = detector.detections(output.timestamps, 1.0, output.provenance.duration_s)
    assert found == detected(output, rules)
    assert len(found) > 100
    assert list(tmp_path.iterdir()) == []


@given(SCORES, st.integers(1, 4))
def test_the_highest_are_those_of_a_stable_sort(rows: list[tuple[float, float, float]], k: int) -> None:
    """The highest first, and of equal ones the first class, for any number of them."""
    scores = np.round(np.array(rows, np.float32).reshape(-1, 3) * 3) / 3
    classes, highest = highest_of(scores, k)
    np.testing.assert_array_equal(classes, np.argsort(-scores, axis=1, kind="stable")[:, :k])
    np.testing.assert_array_equal(highest, np.take_along_axis(scores, classes, axis=1))


def test_a_score_that_is_no_number_is_not_among_the_highest() -> None:
    """It comes last, counts nowhere, and the mean of a span is that of the others."""
    scores = np.array([[np.nan, 0.2, 0.9], [0.5, np.nan, 0.8]], np.float32)
    assert highest_of(scores, 3)[0].tolist() == [[2, 1, 0], [2, 0, 1]]
    found = detected(scored("a.wav", scores, LABELS), DetectionRules(threshold=0.1))
    assert [(one.class_number, one.start_s, one.end_s) for one in found] == [
        (1, 0.0, 3.0),
        (2, 0.0, 6.0),
        (0, 3.0, 6.0),
    ]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"threshold": 1.5}, r"a threshold must be in \[0, 1\]"),
        ({"thresholds": {"dog": -0.1}}, "that of dog is -0.1"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"merge_s": True}, "or false for no merging"),
        ({"merge_s": -1.0}, "merge_s must be a number of seconds"),
        ({"cool_down_s": float("inf")}, "cool_down_s must be a number of seconds"),
    ],
)
def test_rules_that_cannot_be_are_refused(changed: dict[str, object], complaint: str) -> None:
    """By their name, and what they take."""
    with pytest.raises(ValueError, match=complaint):
        DetectionRules(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed", [{"scores": "some"}, {"top_k": 0}, {"score_dtype": "int8"}, {"embedding_dtype": ""}]
)
def test_what_cannot_be_kept_is_refused(changed: dict[str, object]) -> None:
    """By its name."""
    with pytest.raises(ValueError, match=next(iter(changed))):
        Kept(**changed)  # type: ignore[arg-type]


def test_many_classes_are_recorded_by_a_digest() -> None:
    """A list of hundreds of species is not written into every output, and another list is another digest."""
    some, others = (DetectionRules(classes=tuple(f"{kind} {i}" for i in range(300))) for kind in ("bird", "bat"))
    assert "300 classes, SHA-256 " in some.recorded()["classes"]
    assert some.recorded() != others.recorded()
    assert DetectionRules().recorded() == {"threshold": 0.5}


# --- in files ---------------------------------------------------------------------------------------------------------

RULES = DetectionRules(threshold=0.6)


def birds(name: str = "a.wav", seed: int = 0, **changed: npt.NDArray[np.float32]) -> Output:
    """Ten windows with three classes and embeddings."""
    rng = np.random.default_rng(seed)
    output = scored(name, rng.random((10, 3), np.float32), LABELS)
    return replace(output, embedding=rng.normal(size=(10, 4)).astype(np.float32), **changed)  # type: ignore[arg-type]


def kinds_of_outputs() -> dict[str, Output]:
    """One of each kind that there is to write."""
    whole = birds()
    nothing = scored("a.wav", np.zeros((10, 3), np.float32), LABELS)
    assert whole.scores is not None
    half = whole.scores.astype(np.float16)
    return {
        "all scores": replace(whole, detections=detected(whole, RULES)),
        "float16": replace(whole, scores=half.astype(np.float16), detections=detected(whole, RULES)),
        "top-k": sparse(whole, RULES, 2),
        "top-k alone": sparse(whole, None, 2),
        "detections alone": replace(sparse(whole, RULES, None), embedding=None),
        "nothing heard": sparse(nothing, RULES, None),
        "nothing heard, all scores": replace(nothing, detections=()),
        "without labels": replace(
            sparse(whole, RULES, 1),
            labels=(),
            label_numbers=(),
            detections=(
                Detection(
                    start_s=0.1,
                    end_s=0.30000000000000004,
                    label="scores_2",
                    score_mean=1 / 3,
                    score_max=0.5,
                    class_number=2,
                ),
            ),
        ),
    }


def assert_same(output: Output, other: Output) -> None:
    assert (output.detections, output.labels, output.label_numbers) == (
        other.detections,
        other.labels,
        other.label_numbers,
    )
    assert output.by_kind().keys() == other.by_kind().keys()
    for kind, array in output.by_kind().items():
        np.testing.assert_array_equal(array, other.by_kind()[kind])
    assert output.provenance == other.provenance


@pytest.mark.parametrize("suffix", ["npz", "csv", pytest.param("arrow", marks=needs("pyarrow"))])
@pytest.mark.parametrize("kind", list(kinds_of_outputs()))
def test_what_is_written_is_read(kind: str, suffix: str, tmp_path: Path) -> None:
    """Every kind of output, in every format: detections, the highest scores, and the labels of the classes in it."""
    output, path = kinds_of_outputs()[kind], tmp_path / f"a.wav.{suffix}"
    if suffix == "arrow":
        parquet.write_waiting(output, path)
        assert_same(parquet.read_waiting(path), output)
    else:
        write_output(output, path)
        assert_same(read_output(path), output)
        assert read_heard(path) == output.detections


@needs("pyarrow")
def test_a_part_gives_its_outputs_back(tmp_path: Path) -> None:
    """Each has the labels of its own classes, though the part names those of all; the table beside it has the rows."""
    outputs = [sparse(birds(f"{seed}.wav", seed), RULES, 1) for seed in range(3)]
    outputs.append(sparse(scored("quiet.wav", np.zeros((10, 3), np.float32), LABELS), RULES, 1))
    waiting = [tmp_path / f"{number}.arrow" for number in range(len(outputs))]
    for output, path in zip(outputs, waiting, strict=True):
        parquet.write_waiting(replace(output, embedding=None), path)
    parquet.write_part(tmp_path / "data" / "part-00000.parquet", waiting)
    read = list(parquet.read_part(tmp_path / "data" / "part-00000.parquet"))
    for output, other in zip(outputs, read, strict=True):
        assert_same(replace(output, embedding=None), other)
    table = table_folder(tmp_path / "data") / "part-00000.parquet"
    write_table(table, read)
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(table).to_pylist()
    assert [(row["recording"], row["label"], row["start_s"]) for row in rows] == [
        (output.provenance.recording, one.label, one.start_s) for output in outputs for one in output.detections or ()
    ]


@needs("pandas")
@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_a_folder_of_detections_is_one_table(suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """read_detections gives those of all recordings; what has none is counted in the log, and not silently nothing."""
    outputs = [replace(birds(f"{n}.wav", n), detections=detected(birds(f"{n}.wav", n), RULES)) for n in range(3)]
    for output in outputs:
        write_output(output, tmp_path / f"{output.provenance.recording}.{suffix}")
    found = read_detections(tmp_path)
    expected = [one for output in outputs for one in output.detections or ()]
    assert found.start_s.tolist() == [one.start_s for one in expected]
    assert found.label.tolist() == [one.label for one in expected]
    assert found.recording[-1] == "2.wav"
    assert len(found) == len(found.to_pandas()) == len(expected) > 0
    assert read_embeddings(tmp_path).detections is not None
    write_output(birds("3.wav"), tmp_path / f"3.wav.{suffix}")
    with caplog.at_level(logging.WARNING):
        assert len(read_detections(tmp_path)) == len(expected)
    assert "1 of 4 outputs" in caplog.text


def test_a_folder_without_detections_says_how_to_make_some(tmp_path: Path) -> None:
    """No empty table that looks as if nothing had been heard."""
    write_output(birds(), tmp_path / "a.wav.npz")
    with pytest.raises(ConfigError, match="--detect"):
        read_detections(tmp_path)
    assert read_embeddings(tmp_path).detections is None
    assert read_heard(tmp_path / "a.wav.npz") is None


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_outputs_that_were_not_asked_for_detections_have_nothing_new(suffix: str, tmp_path: Path) -> None:
    """Not a member, not a line."""
    write_output(birds(), path := tmp_path / f"a.wav.{suffix}")
    if suffix == "npz":
        with np.load(path) as arrays:
            assert [name for name in arrays.files if name.startswith(("detection", "label_", "top_"))] == []
    else:
        lines = path.read_text().splitlines()
        assert [line for line in lines if line.startswith(("# detection", "# label"))] == []


def test_outputs_of_one_folder_may_name_other_classes(tmp_path: Path) -> None:
    """Those that keep the highest scores name the classes that occur in each, and are read as one all the same."""
    outputs = [sparse(birds(f"{seed}.wav", seed), RULES, 1) for seed in range(3)]
    for output in outputs:
        write_output(output, tmp_path / f"{output.provenance.recording}.npz")
    read = read_embeddings(tmp_path)
    assert read.labels == ()
    assert read.top_classes is not None
    assert read.top_classes.shape == (30, 1)
    assert len(list(iter_outputs(tmp_path))) == 3


def test_the_highest_scores_of_a_recording() -> None:
    """Whatever an output keeps of its scores, the same classes are the highest, each once, with their moments."""
    whole = birds()
    assert whole.scores is not None
    best = whole.highest(3)
    assert [one.score for one in best] == sorted(whole.scores.max(axis=0).tolist(), reverse=True)
    assert whole.timestamps[whole.scores[:, best[0].class_number].argmax()] == best[0].start_s
    assert sparse(whole, None, 3).highest(3) == best
    alone = sparse(whole, DetectionRules(threshold=0.0, merge_s=None), None)
    assert alone.highest(3) == best
    assert replace(whole, detections=()).describe_heard() == "no detections"
    assert "more detections" in replace(alone, embedding=None).describe_heard()


def test_what_is_kept_of_scores_is_neither_drawn_nor_compared(tmp_path: Path) -> None:
    """Numbers of classes have no mean: pictures and comparisons take what networks compute."""
    output = sparse(birds(), RULES, 2)
    assert list(output.computed()) == ["embedding"]
    for name in ("a", "b"):
        write_output(sparse(birds(), RULES, 2 if name == "a" else None), tmp_path / name / "a.wav.npz")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--exact"]) == 0


# --- how large they are -----------------------------------------------------------------------------------------------

N_BIRDS, N_DIMS = 6522, 1024
MAX_BYTES = 60_000  # of a recorded minute


def a_minute_of_birds() -> Output:
    """As BirdNET's network gives it: 20 windows, 6,522 classes of which a dozen are heard, 1024 numbers each."""
    rng = np.random.default_rng(1)
    scores = rng.beta(0.1, 300, (20, N_BIRDS)).astype(np.float32)
    for number in rng.choice(N_BIRDS, 12, replace=False):
        scores[rng.choice(20, 5), number] = rng.uniform(0.1, 1, 5)
    labels = [f"Genus{i} species{i}_A rather long common name {i}" for i in range(N_BIRDS)]
    embedding: Any = np.maximum(0, rng.normal(size=(20, N_DIMS))).astype(np.float16)
    return replace(scored("20261128_120000.wav", scores, labels), embedding=embedding)


def test_a_minute_of_birds_is_small(tmp_path: Path) -> None:
    """With its detections and its embedding in float16 a minute takes no more than 60 KB, and says the same."""
    whole = a_minute_of_birds()
    rules = DetectionRules(threshold=0.1, merge_s=None)
    output = sparse(whole, rules, None)
    write_output(output, path := tmp_path / "a.wav.npz")
    assert path.stat().st_size <= MAX_BYTES
    assert_same(read_output(path), output)
    assert read_output(path).detections == detected(whole, rules)
    assert len(output.labels) == 12
