"""The figures of a day and of a recording, of numbers that are known: which rows, which words, which cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sonyc_ml.analysis.plots.classes import MOST_CLASSES
from sonyc_ml.analysis.plots.columns import MelScale, Timeline
from sonyc_ml.analysis.plots.recording_view import View
from sonyc_ml.base.identity import Identity
from sonyc_ml.node.journal.between import HeardBin, Made
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.output import Output
from sonyc_ml.web.pictures.day.classes import figure_of_heard, figure_of_scores
from sonyc_ml.web.pictures.day.making import Day
from sonyc_ml.web.pictures.drawing.figures import Figure
from sonyc_ml.web.pictures.jobs import RecordingJob
from sonyc_ml.web.pictures.recordings import figures
from sonyc_ml.web.pictures.recordings.figures import figures_of
from sonyc_ml.web.pictures.summaries import Summary
from tests.support.levels import measure, tone
from tests.support.outputs import output_of

MIDNIGHT_S = 1_795_219_200.0  # 2026-11-21
N_BINS = 4
JOB = RecordingJob(name="street/a b.wav", n_bytes=3, mtime_ns=4)


def a_day(heard: Sequence[HeardBin] = (), read: Sequence[tuple[int, Summary]] = ()) -> Day:
    """Of four hours with ten recordings each, but the last, which has none."""
    moments = [(Made(Identity("a", 1, 1), "done", "", MIDNIGHT_S + 3600 * hour, 10.0), one) for hour, one in read]
    return Day(
        edges_s=np.linspace(MIDNIGHT_S, MIDNIGHT_S + 3600 * N_BINS, N_BINS + 1),
        made=[],
        n_made=np.array([10.0, 10.0, 10.0, 0.0]),
        read=moments,
        heard=list(heard),
        audit={},
    )


def summary(*scores: float, labels: tuple[str, ...] = ()) -> Summary:
    values: npt.NDArray[np.float32] = np.array(scores, np.float32)
    return Summary("a0" * 32, labels, None, values if scores else None, None)


def cells(figure: Figure) -> list[list[str]]:
    """What its table says, from the third column on."""
    assert figure.table is not None
    return [list(row[2:]) for row in figure.table.rows]


def test_what_was_heard_over_the_hours() -> None:
    """The most frequent first, with when and how clearly; hours without recordings are not hours of silence."""
    (figure,) = figure_of_heard(
        a_day([HeardBin("dog", 0, 2, 0.7), HeardBin("siren", 1, 5, 0.9), HeardBin("dog", 2, 1, 0.8)])
    )
    assert figure.table is not None
    assert figure.table.heading == ("from", "to", "recordings", "dog", "siren")
    assert cells(figure) == [["10", "2", "0"], ["10", "0", "5"], ["10", "1", "0"], ["0", "0", "0"]]
    assert figure.left.index("siren") < figure.left.index("dog")
    assert "siren: heard in 5 recordings, most from 2026-11-21 01:00, highest score 0.90" in figure.plot
    assert "dog: heard in 3 recordings, most from 2026-11-21 00:00, highest score 0.80" in figure.plot
    assert "hatch-classes" in figure.plot
    assert "%" in figure.below


def test_what_lies_outside_of_the_hours_is_left_out_and_many_classes_are_told() -> None:
    """The table has all of them, the picture the most frequent."""
    many = [HeardBin(f"class {number:02}", 0, 1 + number, 0.5) for number in range(MOST_CLASSES + 3)]
    (figure,) = figure_of_heard(a_day([*many, HeardBin("outside", N_BINS, 9, 0.9), HeardBin("before", -1, 9, 0.9)]))
    assert figure.note.endswith(f" The {MOST_CLASSES} most frequent of {MOST_CLASSES + 3} classes.")
    assert figure.table is not None
    assert len(figure.table.heading) == 3 + MOST_CLASSES + 3
    assert "outside" not in figure.plot
    assert "class 00" not in figure.plot


def test_scores_over_the_hours() -> None:
    """The mean of the outputs of an hour; a class that is likely has its name in bold, and no number is none."""
    labels = ("dog", "siren")
    read = [(0, summary(0.25, 0.75, labels=labels)), (0, summary(0.75, 0.75, labels=labels)), (2, summary(0, 0.5))]
    (figure,) = figure_of_scores(a_day(read=[*read[:2], (2, summary(0.0, 0.5, labels=labels))]))
    assert figure.table is not None
    assert figure.table.heading == ("from", "to", "recordings", "dog", "siren")
    values = [[float(cell) if cell else np.nan for cell in row] for row in cells(figure)]
    np.testing.assert_array_equal(values[0], [2, 0.5, 0.75])
    np.testing.assert_array_equal(values[2], [1, 0.0, 0.5])
    assert (values[1][0], values[3][0]) == (0, 0)
    assert figure.left.count('class="likely"') == 2
    (unnamed,) = figure_of_scores(a_day(read=read[2:]))
    assert unnamed.table is not None
    assert unnamed.table.heading[3:] == ("class 0", "class 1")


def test_outputs_without_scores_make_no_figure() -> None:
    """Nor do those of another number of classes count, as of a bundle that came before."""
    assert figure_of_scores(a_day(read=[(0, summary())])) == []
    (figure,) = figure_of_scores(a_day(read=[(0, summary(0.9, 0.9, 0.9)), (1, summary(0.1, 0.2)), (1, summary())]))
    assert [row[0] for row in cells(figure)] == ["0", "1", "0", "0"]


def a_view(output: Output, n_columns: int = 8) -> View:
    """Of an output, with all that there can be."""
    rng = np.random.default_rng(3)
    wave = np.sort(rng.uniform(-0.5, 0.5, (2, n_columns)), axis=0).astype(np.float32)
    assert output.scores is not None
    return View(
        output=output,
        timeline=Timeline(0.0, 10.0, n_columns),
        waveform=wave,
        features=rng.normal(-40, 10, (16, n_columns)).astype(np.float32),
        mel_scale=MelScale(16, 0.0, 4000.0),
        scores=rng.random((output.scores.shape[1], n_columns)).astype(np.float32),
    )


def whole(n_windows: int = 20) -> Output:
    """An output with everything."""
    heard = tuple(
        Detection(start_s=at, end_s=at + 1, label=label, class_number=number, score_max=score, score_mean=0.5)
        for at, label, number, score in ((1.0, "dog", 0, 0.6), (4.0, "siren", 1, 0.9), (6.0, "dog", 0, 0.7))
    )
    return replace(output_of("a.wav", n_windows), detections=heard, levels=measure(tone(1000, 8000, 2.5), 8000))


def test_a_recording_with_everything_has_five_figures() -> None:
    """On one axis of time, each with its numbers; what only the extractor knows has no frequencies."""
    output = whole()
    view = a_view(output)
    made = {figure.title: figure for figure in figures_of(output, view, JOB)}
    assert list(made) == ["Waveform", "Log-mel, as the network read it", "Detections", "Scores", "Sound levels"]
    names = {title: figure.table.name for title, figure in made.items() if figure.table is not None}
    assert sorted(names.values()) == ["detections", "levels", "log-mel", "scores", "waveform"]
    mel = made["Log-mel, as the network read it"]
    assert " Hz" in mel.left
    assert "street%2Fa%20b.wav" in mel.plot or "street%2Fa+b.wav" in mel.plot
    assert mel.image is not None
    plain = {figure.title: figure for figure in figures_of(output, replace(view, mel_scale=None), JOB)}
    assert plain[mel.title].left == ""
    assert plain[mel.title].note.endswith("features.")


def test_a_recording_with_nothing_has_no_figures() -> None:
    """Nor does one in which nothing was heard have one of detections."""
    output = replace(output_of("a.wav", 3), detections=())
    assert list(figures_of(output, None, JOB)) == []
    assert list(figures_of(output, View(output=output, timeline=Timeline(0, 1, 1)), JOB)) == []


def test_silence_is_a_line() -> None:
    """Without a division by its peak."""
    output = output_of("a.wav", 3)
    view = View(output=output, timeline=Timeline(0, 1, 8), waveform=np.zeros((2, 8), np.float32))
    (figure,) = figures_of(output, view, JOB)
    assert "nan" not in figure.plot
    assert figure.table is not None
    assert [row[1:] for row in figure.table.rows] == [("0.00000", "0.00000")] * 8


def test_detections_by_class() -> None:
    """The class with the highest score first; every detection is a bar, and a row of the table."""
    (figure,) = figures_of(replace(whole(), levels=None), None, JOB)
    assert figure.left.index("siren") < figure.left.index("dog")
    assert "dog: 6.00 to 7.00 s, highest score 0.70" in figure.plot
    assert figure.table is not None
    assert [row[0] for row in figure.table.rows] == ["dog", "siren", "dog"]


def test_a_csv_of_many_scores_has_the_classes_that_are_shown() -> None:
    """And the note says so."""
    n_windows = 40
    n_classes = figures.MOST_CSV_CELLS // n_windows + 1
    rng = np.random.default_rng(5)
    scores = rng.random((n_windows, n_classes)).astype(np.float32) * np.float32(0.04)
    scores[7, 123] = 0.9
    output = replace(output_of("a.wav", n_windows), scores=scores, labels=())
    view = View(output=output, timeline=Timeline(0, 10, 4), scores=scores[:4].T)
    (figure,) = figures_of(output, view, JOB)
    assert figure.table is not None
    assert figure.table.heading[:2] == ("window from (s)", "class 123")
    assert len(figure.table.heading) < 10
    assert f"highest of {n_classes} classes." in figure.note
    assert figure.note.endswith("The csv has these alone.")
    assert figure.left.count('class="likely"') == 1
