"""Pictures: what is in them, that they are whole, and what is said where there can be none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("matplotlib", reason="pictures are an extra")

import matplotlib.image
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from PIL import Image

from scripts.plot_pictures import MADE_OF
from sonyc_ml import cli
from sonyc_ml.analysis.plots import day as plot_day
from sonyc_ml.analysis.plots import recording as plot_recording
from sonyc_ml.analysis.plots import style as drawing
from sonyc_ml.authoring import export as exporter
from sonyc_ml.errors import ConfigError, StoreError
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.files import read_output, write_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.reading import iter_outputs
from tests.conftest import ROOT, require_shared, vouch, write_recording
from tests.support import networks
from tests.support.days import LABELS, NOON, output_at, write_day

DEFAULT_BUNDLE = ROOT / "models" / "quantized_default_int8.tflite"
DAY_HOURS = (*np.arange(0, 6, 0.25), *np.arange(12, 24, 0.25))


def texts(path: Path) -> list[str]:
    """Every text of an SVG."""
    return ["".join(node.itertext()) for node in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def images(figure: Figure) -> list[AxesImage]:
    """The images of a figure's panels, from the top."""
    return [image for axes in figure.axes for image in axes.images]


def values(image: AxesImage) -> npt.NDArray[np.float64]:
    """What an image shows; NaN where it shows nothing."""
    return np.ma.filled(np.ma.asarray(image.get_array(), np.float64), np.nan)


def day_of(folder: Path, *, whole: bool = False) -> plot_day.DayView:
    return plot_day.look_at(lambda: iter_outputs(folder), UTC, whole=whole)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of outputs, every quarter of an hour, with six hours missing, and a few of the day after."""
    folder = tmp_path_factory.mktemp("day")
    write_day(folder, DAY_HOURS)
    write_day(folder, (1, 2), NOON + timedelta(days=1))
    return folder


@pytest.fixture(scope="module")
def rooster(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recording of a rooster at six, and its output by the default bundle."""
    import soundfile

    clip = min(require_shared("esc10").glob("009-rooster/*.ogg"))
    folder = tmp_path_factory.mktemp("rooster")
    recording = folder / "20261121T060000Z.wav"
    y, sr = soundfile.read(clip, dtype="float32", stop=5 * 44100)
    soundfile.write(recording, y, sr)
    return recording, load_model(DEFAULT_BUNDLE).process_file(recording)


def test_a_recording_is_drawn_with_all_its_panels(rooster: tuple[Path, Path], tmp_path: Path) -> None:
    """Waveform, log-mel in Hz and dB, embedding and every class, with units, the date and the bundle, as text."""
    recording, _ = rooster
    path = tmp_path / "rooster.svg"
    assert cli.main(["plot", str(recording), "--model", str(DEFAULT_BUNDLE), "--output", str(path)]) == 0
    found = texts(path)
    for wanted in ("Amplitude", "Frequency (Hz)", "1000", "Level (dB)", "Std. deviations", "Score", "Time (s)"):
        assert wanted in found
    for label in (ROOT / "models" / "labels.txt").read_text().split():
        assert label.replace("_", " ") in found
    assert recording.name in found
    assert "2026-11-21T06:00:00+00:00" in found
    version = json.loads((ROOT / "models" / "quantized_default_int8.json").read_text())["version"]
    assert any(f"Bundle quantized_default_int8 {version}" in text and "hop 0.1 s" in text for text in found)


def test_panels_share_the_time_axis_and_show_the_numbers(rooster: tuple[Path, Path]) -> None:
    """Every panel runs from the recording's first sample to its last, and shows features and scores as they are."""
    recording, path = rooster
    model, output = load_model(DEFAULT_BUNDLE), read_output(path)
    view = plot_recording.look_at(output, recording, model)
    with drawing.style():
        figure = plot_recording.draw(view)
    drawn = [axes for axes in figure.axes if axes.get_ylabel() or axes.images]
    panels = [axes for axes in drawn if axes.get_xlim() == (0.0, 5.0)]
    assert len(panels) == 4
    levels, embedding, scores = (values(image) for image in images(figure))
    assert all(tuple(image.get_extent()[:2]) == (0.0, 5.0) for image in images(figure))
    assert output.scores is not None
    middle = 20  # the window from 2 s on, seen at 2.5 s
    assert output.timestamps[middle] == pytest.approx(2.0)
    np.testing.assert_array_equal(scores[:, 900], output.scores[middle])
    y, sr = model_samples(recording)
    np.testing.assert_array_equal(levels[:, 900], model.get_features(y, sr)[middle, :, 25])
    assert embedding.shape[0] <= 256
    assert np.isfinite(embedding).all()


def model_samples(recording: Path) -> tuple[npt.NDArray[np.float32], int]:
    from sonyc_ml.sound.files import read_recording

    return read_recording(recording)


def test_an_output_alone_has_no_waveform(rooster: tuple[Path, Path], tmp_path: Path) -> None:
    """Embedding and scores; with the recording its waveform too, and with the model what it read."""
    recording, output = rooster
    wanted: dict[tuple[str, ...], set[str]] = {
        (): set(),
        ("--recording", str(recording)): {"Amplitude"},
        ("--recording", str(recording), "--model", str(DEFAULT_BUNDLE)): {"Amplitude", "Frequency (Hz)"},
    }
    for flags, labels in wanted.items():
        path = tmp_path / "picture.svg"
        assert cli.main(["plot", str(output), "--output", str(path), *flags]) == 0
        assert {"Amplitude", "Frequency (Hz)"}.intersection(texts(path)) == labels
        assert "rooster" in texts(path)


def test_a_picture_lies_beside_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --output it is a PNG of the input's whole name, and the command says where."""
    write_output(output_at(NOON), tmp_path / "outputs" / "a.wav.npz")
    assert cli.main(["plot", str(tmp_path / "outputs" / "a.wav.npz"), "--dpi", "80"]) == 0
    assert cli.main(["plot", str(tmp_path / "outputs"), "--dpi", "80", "--day", "all", "--size", "5x4"]) == 0
    paths = [tmp_path / "outputs" / "a.wav.npz.png", tmp_path.resolve() / "outputs.all.png"]
    assert capsys.readouterr().out.split() == list(map(str, paths))
    pixels = [matplotlib.image.imread(path) for path in paths]
    assert pixels[0].shape[1] == 576
    assert pixels[1].shape[:2] == (320, 400)
    assert pixels[0].std() > 0.05


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_picture_is_the_same_file(tmp_path: Path, suffix: str) -> None:
    """Byte for byte, in every format: nothing in it tells when it was made."""
    write_day(tmp_path / "outputs", range(4))
    contents = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}{suffix}"
        assert cli.main(["plot", str(tmp_path / "outputs"), "--output", str(path), "--dpi", "60"]) == 0
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])


def test_a_day_says_what_it_shows(day: Path, tmp_path: Path) -> None:
    """The fullest day, its classes, hours, gaps, and what the axes of the map are."""
    path = tmp_path / "day.svg"
    assert cli.main(["plot", str(day), "--output", str(path)]) == 0
    found = texts(path)
    for wanted in ("2026-11-21", "Time of day (UTC)", "Mean score", "06:00", "Hour", *LABELS):
        assert wanted in found
    assert any(text.startswith("72 recordings") for text in found)
    assert any("hatched: not recorded" in text for text in found)
    assert any(text.startswith("Component 1 (") for text in found)


def test_a_day_says_where_its_start_times_come_from() -> None:
    """The footnote counts the start times of that day that are the file's, and those in doubt, if there are any."""
    remarks = (("mtime", ""), ("mtime", "before 2000"), ("guano", ""), ("name", ""))
    outputs = [output_at(NOON + timedelta(minutes=n)) for n in range(4)]
    others = [output_at(NOON + timedelta(days=1, minutes=n)) for n in range(2)]
    made = [
        dataclasses.replace(
            output,
            provenance=dataclasses.replace(output.provenance, start_time_source=source, start_time_doubt=doubt),
        )
        for output, (source, doubt) in zip(outputs, remarks, strict=True)
    ]
    view = plot_day.look_at(lambda: [*made, *others], UTC, NOON.date())
    assert view.note_on_starts == (
        "start times: 1 by name, 1 by metadata, 2 by the file's time; see start_time_source in the outputs; "
        "start times in doubt: 1 before 2000 (see start_time_doubt in the outputs)"
    )
    with drawing.style():
        footnote = " ".join(text.get_text() for text in plot_day.draw(view).findobj(Text)).replace("\n", " ")
    assert "start times: 1 by name, 1 by metadata, 2 by the file's time" in footnote
    assert plot_day.look_at(lambda: [*made, *others], UTC, others[0].times()[0].item().date()).note_on_starts == ""


def test_nothing_is_drawn_where_nothing_was_recorded(day: Path) -> None:
    """The six hours without recordings are left to the hatched ground; all others show the means."""
    span = day_of(day)
    with drawing.style():
        figure = plot_day.draw(span)
    (image,) = images(figure)
    shown = values(image)
    hours = (span.bins.edges_s[:-1] - span.start_s) / 3600
    gaps = np.isnan(shown).all(axis=0)
    np.testing.assert_array_equal(gaps, (hours >= 6) & (hours < 12))
    assert image.axes.patch.get_hatch()
    means = span.bins.means("scores")
    assert means is not None
    np.testing.assert_array_equal(shown, means.T)
    coverage = figure.axes[0]
    bars = [path.get_extents() for path in coverage.collections[0].get_paths()]
    assert [round((bar.x1 - bar.x0) * 24, 1) for bar in bars] == [5.8, 11.8]
    assert coverage.get_xlim() == image.axes.get_xlim()


def test_a_day_is_chosen_where_it_was_recorded(day: Path) -> None:
    """By its date in a time zone; all there is, on request; what another bundle made is counted, not mixed in."""
    assert len(day_of(day).starts_s) == 72
    assert len(day_of(day, whole=True).starts_s) == 74
    chosen = plot_day.look_at(lambda: iter_outputs(day), UTC, date(2026, 11, 22))
    assert len(chosen.starts_s) == 2
    mixed = [output_at(NOON), output_at(NOON + timedelta(hours=1)), output_at(NOON + timedelta(hours=2), bundle="c")]
    span = plot_day.look_at(lambda: mixed, UTC)
    assert (len(span.starts_s), span.n_others, span.bins.n_windows.sum()) == (2, 1, 20)


def test_hours_are_those_of_the_time_zone(day: Path, tmp_path: Path) -> None:
    """A day that is asked for in a time zone begins at its midnight, and says so."""
    path = tmp_path / "day.svg"
    assert cli.main(["plot", str(day), "--time-zone", "Asia/Tokyo", "--output", str(path)]) == 0
    found = texts(path)
    assert "Time of day (JST)" in found
    assert found.count("00:00") >= 2
    span = plot_day.look_at(lambda: iter_outputs(day), ZoneInfo("Asia/Tokyo"), date(2026, 11, 22))
    assert datetime.fromtimestamp(span.start_s, UTC).isoformat() == "2026-11-21T15:00:00+00:00"


def test_without_scores_components_are_drawn(tmp_path: Path) -> None:
    """A day of embeddings alone shows their principal components, and the map by the hour."""
    write_day(tmp_path / "outputs", range(12), scores=False)
    path = tmp_path / "day.svg"
    assert cli.main(["plot", str(tmp_path / "outputs"), "--output", str(path)]) == 0
    found = texts(path)
    assert any(text.startswith("component 1 (") for text in found)
    assert "Hour" in found
    assert not set(LABELS).intersection(found)


def test_what_is_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of a folder that are damaged or no outputs are named once, the first few, and do not cost the others."""
    folder = tmp_path / "outputs"
    write_day(folder, range(3))
    for number in range(7):
        (folder / f"{number}.npz").write_bytes(b"damaged")
    assert cli.main(["plot", str(folder), "--dpi", "50"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 6
    assert told[0].startswith(f"left out: {folder / '0.npz'} is no output, or damaged")
    assert told[-1] == "left out: 2 other files"


def test_of_many_classes_the_highest_are_shown() -> None:
    """At most twenty, the highest first, and few of those that are never heard; the picture says so."""
    peaks = np.linspace(0, 1, 521)
    assert drawing.loudest(peaks).tolist() == list(range(520, 500, -1))
    assert drawing.loudest(peaks / 1000).tolist() == list(range(520, 515, -1))
    assert drawing.loudest(peaks[:20]).tolist() == list(range(20))
    assert drawing.what_classes(peaks)[0] == "the 20 highest of 521 classes"


def test_odd_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    """Dollar signs, line breaks, control characters and bytes that are no text neither fail nor mean anything."""
    output = output_at(NOON)
    name = "$\\frac$ a&<b>\n\x07\udcff.wav"
    odd = dataclasses.replace(output.provenance, recording=name, bundle="b$u$")
    labels = ("$x$", "long " * 20, "\x1b[31mred")
    write_output(dataclasses.replace(output, provenance=odd, labels=labels), tmp_path / "odd.csv")
    assert cli.main(["plot", str(tmp_path / "odd.csv"), "--output", str(tmp_path / "odd.svg")]) == 0
    found = texts(tmp_path / "odd.svg")
    assert "$x$" in found
    assert any(text.startswith("$\\frac$ a&<b>\\n") for text in found)


def test_settings_are_left_as_they_were(tmp_path: Path) -> None:
    """A picture changes none of matplotlib's settings for the program around it, and opens no pyplot."""
    write_output(output_at(NOON), tmp_path / "a.npz")
    program = (
        "import sys, matplotlib as mpl\nfrom sonyc_ml import cli\n"
        "names = set(mpl.rcParams) - {'backend'}  # asking for that one imports pyplot\n"
        "before = {name: mpl.rcParams[name] for name in names}\n"
        f"cli.main(['plot', {str(tmp_path / 'a.npz')!r}])\n"
        "print('matplotlib.pyplot' in sys.modules, {name: mpl.rcParams[name] for name in names} == before)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("\nFalse True\n")


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Where it cannot be written there is what was there before, and a sentence."""
    (tmp_path / "file").write_bytes(b"")
    with drawing.style():
        figure = plot_recording.draw(plot_recording.look_at(output_at(NOON)))
        with pytest.raises(StoreError, match="cannot be written"):
            drawing.save(figure, tmp_path / "file" / "a.png", 50)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_pcm_networks_have_no_log_mel(tmp_path: Path) -> None:
    """A network that reads samples is drawn without a panel of what it read."""
    network = tmp_path / "pcm.tflite"
    network.write_bytes(networks.dense((1, 8000)))
    recording = write_recording(tmp_path / "a.wav", seconds=2)
    path = tmp_path / "a.svg"
    flags = ["--input_kind", "pcm", "--target_sr", "8000"]
    assert cli.main(["plot", str(recording), "--model", str(network), *flags, "--output", str(path)]) == 0
    assert "Amplitude" in texts(path)
    assert "Frequency (Hz)" not in texts(path)


USER_MODULE = """
import numpy as np

def my_bands(y, sr, hop_size=None, duration=0.25, target_sr=8000):
    length, hop = round(duration * sr), round((hop_size or 0.5) * sr)
    windows = np.stack([y[i : i + length] for i in range(0, max(1, len(y) - length + 1), hop)])
    return np.abs(windows.reshape(len(windows), 10, 4, -1)).mean(axis=3).transpose(0, 2, 1)
"""


def test_bands_of_an_extractor_of_ones_own_have_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extractor does not say its frequencies; what lies between its windows is left blank."""
    (tmp_path / "plot_test_module.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    network = tmp_path / "own.tflite"
    network.write_bytes(networks.dense((1, 4, 10)))
    exporter.export_function(network.with_suffix(".pkl"), "plot_test_module:my_bands", duration=0.25)
    model = load_model(vouch(network, window_size_s=0.25), hop_size=0.5)
    recording = write_recording(tmp_path / "a.wav", seconds=2)
    view = plot_recording.look_at(model.embed_file(recording), recording, model)
    assert view.features is not None
    assert view.mel_scale is None
    blank = np.isnan(view.features[0])
    moments_s = view.timeline.moments(1.0)[:, 0]
    np.testing.assert_array_equal(blank, moments_s % 0.5 > 0.25)
    y, sr = model_samples(recording)
    np.testing.assert_array_equal(view.features[:, 900], model.get_features(y, sr, 0.5)[2, :, 0])
    with drawing.style():
        labels = [axes.get_ylabel() for axes in plot_recording.draw(view).axes]
    assert "Band" in labels
    assert "Frequency (Hz)" not in labels


def test_one_window_and_one_sample_are_enough(tmp_path: Path, tiny_bundle: Path) -> None:
    """The shortest recording and the shortest output have a picture."""
    recording = write_recording(tmp_path / "a.wav", seconds=1 / 8000)
    assert cli.main(["plot", str(recording), "--model", str(tiny_bundle), "--dpi", "50"]) == 0
    write_output(output_at(NOON, 1.0), tmp_path / "outputs" / "b.npz")
    assert cli.main(["plot", str(tmp_path / "outputs"), "--dpi", "50"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.wav"], "nowhere.wav: No such file or directory"),
        (["damaged.npz"], "is no output, or damaged"),
        (["empty"], "empty: there are no outputs there"),
        (["outputs", "--day", "2020-02-02"], "no recordings on 2020-02-02; there are on 2026-11-21 (1)"),
        (["outputs", "--day", "soon"], "--day takes a date, as in 2026-11-21, or all, not 'soon'"),
        (["outputs", "--time-zone", "Mars"], "--time-zone: there is no time zone 'Mars'"),
        (["outputs", "--recording", "a.wav"], "--recording is not for a folder of outputs"),
        (["outputs/a.npz", "--day", "all"], "--day is not for one file"),
        (["outputs/a.npz", "--recording", "a.wav"], "is not the recording that the output was made of"),
        (["outputs/a.npz", "--recording", "damaged.npz"], "damaged.npz: "),
        (["outputs/a.npz", "--channel", "1"], "flags of a model are given, and not the model"),
        (["outputs/a.npz", "--output", "a.jpg"], "a picture is written as .png, .svg or .pdf, not as 'a.jpg'"),
        (["outputs/a.npz", "--output", "-"], "not as '-'"),
        (["outputs/a.npz", "--size", "big"], "--size takes inches from 3 to 60, as in 7.2x4 or 7.2, not 'big'"),
        (["outputs/a.npz", "--size", "7x1"], "--size takes inches"),
        (["outputs/a.npz", "--size", "nan"], "--size takes inches"),
        (["outputs/a.npz", "--dpi", "0"], "--dpi must be from 30 to 1200, and is 0"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """What cannot be drawn is said in a line, with exit status 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    write_recording(tmp_path / "a.wav")
    write_output(output_at(NOON), tmp_path / "outputs" / "a.npz")
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    assert cli.main(["plot", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1
    assert not list(tmp_path.rglob("*.png"))


def test_what_does_not_belong_together_is_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    """Neither another bundle's output, nor a model without the recording, nor an output of nothing."""
    model, output = load_model(tiny_bundle), output_at(NOON)
    with pytest.raises(ConfigError, match="give it with --recording"):
        plot_recording.look_at(output, None, model)
    with pytest.raises(ConfigError, match="made by another bundle"):
        plot_recording.look_at(output, tmp_path / "a.wav", model)
    with pytest.raises(ConfigError, match="neither an embedding nor scores"):
        plot_recording.look_at(dataclasses.replace(output, embedding=None, scores=None))
    with pytest.raises(ConfigError, match="do not follow one another"):
        plot_recording.look_at(dataclasses.replace(output, timestamps=output.timestamps[::-1]))
    bare: list[Output] = [dataclasses.replace(output, embedding=None, scores=None)]
    with pytest.raises(ConfigError, match="has 9 rows for 10 windows"):
        plot_recording.look_at(
            dataclasses.replace(output, scores=output.scores[:9] if output.scores is not None else None)
        )
    with drawing.style(), pytest.raises(ConfigError, match="neither embeddings nor scores"):
        plot_day.draw(plot_day.look_at(lambda: bare, UTC))


@pytest.mark.parametrize("package", ["matplotlib", "scipy"])
def test_what_draws_is_asked_for_by_its_name(tmp_path: Path, package: str) -> None:
    """Where a package of the extra is missing, the command says how to install it, and everything else works."""
    (tmp_path / "a.npz").write_bytes(b"")
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from sonyc_ml import cli; sys.exit(cli.main(['plot', {str(tmp_path / 'a.npz')!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    wanted = f"sonyc-ml: error: pictures need {package}, which is not installed; install the extra plot: "
    assert result.stderr.startswith(wanted)
    assert "-m pip install 'matplotlib>=" in result.stderr


def test_a_node_never_imports_matplotlib() -> None:
    """Nothing that a node or a batch runs needs it or scipy, or waits for them."""
    modules = "authoring.describe, authoring.export, authoring.make, batch.run, cli, node.daemon, node.doctor"
    names = ", ".join(f"sonyc_ml.{name}" for name in modules.split(", "))
    program = f"import sys, {names}\nprint({{'matplotlib', 'scipy'}} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("p*-*.png")), ids=lambda path: path.name)
def test_pictures_for_the_documentation_are_small_and_current(path: Path) -> None:
    """Each has less than 200 kB, and the bundle in models/ made it: see scripts/pictures and scripts/page-pictures."""
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert picture.width >= 390
        made_of = picture.info[MADE_OF]
    assert made_of == hashlib.sha256(DEFAULT_BUNDLE.with_suffix(".json").read_bytes()).hexdigest()
