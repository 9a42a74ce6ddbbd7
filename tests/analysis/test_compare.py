"""Two folders are compared: the numbers decide, and what differs is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonyc_ml.analysis.compare import Tolerances, compare
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.cli import main
from sonyc_ml.cli.compare_text import comparison_text
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.output import Output
from tests.support.command import sonyc_ml
from tests.support.outputs import PROVENANCE


def made(name: str, seed: int = 0, n_windows: int = 4, n_dims: int = 6, **provenance: Any) -> Output:
    """An output of random numbers, the same each time."""
    rng = np.random.default_rng([seed, *name.encode(errors="surrogateescape")])
    return Output(
        timestamps=np.arange(n_windows, dtype=np.float64) * 0.5 - 0.25,
        embedding=rng.normal(size=(n_windows, n_dims)).astype(np.float32),
        scores=rng.random((n_windows, 2)).astype(np.float32),
        labels=("dog", "siren"),
        provenance=replace(PROVENANCE, recording=name, hop_size_s=0.5, **provenance),
    )


def changed(output: Output, window: int, column: int, by: float, part: str = "embedding") -> Output:
    """An output with one number that is another."""
    array = getattr(output, part).copy()
    array[window, column] += by
    return replace(output, **{part: array})


def written(folder: Path, outputs: list[Output], suffix: str = "npz") -> Path:
    """A folder of outputs."""
    for output in outputs:
        write_output(output, folder / f"{output.provenance.recording}.{suffix}")
    return folder


def answer(a: Path, b: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, Any]]:
    """Exit status and what `--json` says."""
    status = main(["compare", str(a), str(b), "--json", *flags])
    return status, json.loads(capsys.readouterr().out)


def test_a_folder_is_the_same_as_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal numbers are the same to the last bit, whatever format they are in."""
    outputs = [made("a.wav"), made("sub/b\udcff.wav", n_windows=1), made("c.wav", n_windows=0)]
    a, b = written(tmp_path / "a", outputs), written(tmp_path / "b", outputs, "csv")
    status, told = answer(a, b, capsys, "--exact")
    assert (status, told["same"], told["recordings_in_both"]) == (0, True, 3)
    assert told["embedding"]["windows"] == 5
    assert told["embedding"]["equal_share"] == told["scores"]["top_class_agreement"] == 1
    assert told["embedding"]["lowest_cosine"]["value"] == 1
    assert told["provenance"] == told["missing_in_a"] == told["not_comparable"] == []
    assert main(["compare", str(a), str(b)]) == 0
    assert "the same, within tolerance (a cosine of 0.9997, scores 0.05 apart)\n" in capsys.readouterr().out


def test_the_furthest_window_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The largest difference and the lowest cosine come with their recording, window and time."""
    outputs = [made("a.wav"), made("b.wav")]
    others = [changed(outputs[0], 0, 1, 0.001), changed(changed(outputs[1], 2, 3, -0.5), 3, 0, 0.2, "scores")]
    a, b = written(tmp_path / "a", outputs), written(tmp_path / "b", others)
    status, told = answer(a, b, capsys)
    assert (status, told["beyond_tolerance"]) == (1, ["b.wav"])
    largest = told["embedding"]["largest_difference"]
    assert largest == {"value": pytest.approx(0.5, abs=1e-6), "recording": "b.wav", "window": 2, "start_s": 0.75}
    assert outputs[1].embedding is not None
    assert others[1].embedding is not None
    one, other = outputs[1].embedding[2], others[1].embedding[2]
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert told["embedding"]["lowest_cosine"] == {
        "value": pytest.approx(cosine, abs=1e-6),
        "recording": "b.wav",
        "window": 2,
        "start_s": 0.75,
    }
    assert told["embedding"]["equal_share"] == 46 / 48
    assert told["scores"]["largest_difference"]["window"] == 3
    assert told["scores"]["equal_share"] == 15 / 16
    assert main(["compare", str(a), str(b)]) == 1
    text = capsys.readouterr().out
    assert "  largest difference   0.5  b.wav, window 2 at 0.75 s\n" in text
    assert "beyond tolerance: 1 recording\n  b.wav\nthey differ\n" in text


@pytest.mark.parametrize(
    ("part", "flags", "status"),
    [
        ("embedding", (), 0),
        ("embedding", ("--cosine", "0.9999999"), 1),
        ("embedding", ("--exact",), 1),
        ("scores", (), 0),
        ("scores", ("--scores", "0.005"), 1),
        ("scores", ("--exact",), 1),
    ],
)
def test_tolerances_decide(
    part: str, flags: tuple[str, ...], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small difference is within the usual tolerances, and beyond narrower ones."""
    output = made("a.wav")
    a, b = written(tmp_path / "a", [output]), written(tmp_path / "b", [changed(output, 1, 1, 0.01, part)])
    assert answer(a, b, capsys, *flags)[0] == status


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_differ(value: float) -> None:
    """A value that is no number equals another such value alone."""
    output = made("a.wav")
    broken = changed(output, 1, 1, value)
    assert compare([broken], [broken], Tolerances(exact=True)).same
    comparison = compare([output], [broken])
    table = comparison.table()
    assert not comparison.same
    assert table["embedding"]["largest_difference"]["value"] is None
    assert "largest difference   a number against none  a.wav" in comparison_text({"a": "A", "b": "B", **table})
    assert table["embedding"]["lowest_cosine"]["value"] == -1
    assert table["embedding"]["largest_difference_steps"] is None
    assert table["embedding"]["equal_share_but_for_rounding"] == 23 / 24


def test_a_value_that_is_none_is_the_furthest() -> None:
    """A value that is a number in one of the two alone is further apart than any two numbers."""
    outputs = [made("a.wav"), made("b.wav"), made("c.wav")]
    others = [changed(outputs[0], 1, 1, 5), changed(outputs[1], 1, 1, float("nan")), changed(outputs[2], 1, 1, 9)]
    largest = compare(outputs, others).differences["embedding"].largest
    assert largest is not None
    assert (largest.value, largest.recording) == (float("inf"), "b.wav")


def test_silence_equals_silence() -> None:
    """Windows of zeros have a cosine of 1 with each other, and of 0 with any other."""
    output = made("a.wav")
    assert output.embedding is not None
    silent = replace(output, embedding=np.zeros_like(output.embedding))
    assert compare([silent], [silent]).same
    table = compare([output], [silent]).table()
    assert table["embedding"]["lowest_cosine"]["value"] == 0


def test_missing_recordings_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What only one of the two has is told, up to ten by name, and all of it to programs."""
    outputs = [made(f"{number:02}.wav") for number in range(15)]
    a, b = written(tmp_path / "a", outputs[:13]), written(tmp_path / "b", [outputs[0], *outputs[13:]])
    status, told = answer(a, b, capsys)
    assert (status, told["recordings_in_both"]) == (1, 1)
    assert told["missing_in_a"] == ["13.wav", "14.wav"]
    assert told["missing_in_b"] == [f"{number:02}.wav" for number in range(1, 13)]
    assert main(["compare", str(a), str(b)]) == 1
    text = capsys.readouterr().out
    assert "missing in A: 2 recordings\n  13.wav\n  14.wav\n" in text
    assert "  10.wav\n  and 2 more; --json lists them all\n" in text


@settings(deadline=None)  # a machine may be slow
@given(st.permutations(range(6)), st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_the_order_does_not_matter(order: list[int], only_a: set[int], only_b: set[int]) -> None:
    """In whatever order two streams come, each recording meets its own counterpart."""
    outputs = [made(f"{number}.wav") for number in range(6)]
    a = [outputs[number] for number in range(6) if number not in only_b]
    b = [outputs[number] for number in order if number not in only_a]
    comparison = compare(a, b, Tolerances(exact=True))
    assert not comparison.beyond
    assert comparison.n_both == 6 - len(only_a | only_b)
    assert sorted(comparison.missing_in_a) == sorted(f"{number}.wav" for number in only_b - only_a)
    assert sorted(comparison.missing_in_b) == sorted(f"{number}.wav" for number in only_a - only_b)


def test_a_name_used_again_meets_its_own_file() -> None:
    """Of several recordings of one name, those of the same file are compared, and the rest under the name."""
    one, two, three = (made("a.wav", seed, recording_sha256=f"{seed:064}") for seed in range(3))
    assert compare([one, two], [two, one], Tolerances(exact=True)).same
    comparison = compare([one, two], [two, three])
    assert (comparison.n_both, comparison.other_sha256, comparison.beyond) == (2, ["a.wav"], ["a.wav"])
    comparison = compare([one, two], [two])
    assert (comparison.n_both, comparison.missing_in_b) == (1, ["a.wav"])


def test_other_files_of_the_same_sound_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That a recording's SHA-256 differs is told, and decides nothing."""
    output = made("a.wav")
    a, b = written(tmp_path / "a", [output]), written(tmp_path / "b", [made("a.wav", recording_sha256="00" * 32)])
    status, told = answer(a, b, capsys, "--exact")
    assert (status, told["recording_sha256_differs"]) == (0, ["a.wav"])
    assert main(["compare", str(a), str(b)]) == 0
    assert "made of other files: 1 recording\n  a.wav\n" in capsys.readouterr().out


def test_two_outputs_are_compared_whatever_they_are_called(tmp_path: Path) -> None:
    """Two single outputs belong together even where their recordings have other names."""
    a, b = made("a.wav"), replace(made("a.wav"), provenance=replace(PROVENANCE, recording="x.wav", hop_size_s=0.5))
    write_output(a, tmp_path / "a.npz")
    write_output(b, tmp_path / "b.npz")
    ran = sonyc_ml("compare", tmp_path / "a.npz", tmp_path / "b.npz", "--exact")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("the same, to the last bit\n")


def test_what_made_them_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other bundles, versions and parameters are told with how many recordings they are of, and decide nothing."""
    outputs = [made("a.wav"), made("b.wav")]
    others = [
        made(name, bundle="other", versions="sonyc-ml 0.2; numpy 2.0", parameters="{}") for name in ("a.wav", "b.wav")
    ]
    a, b = written(tmp_path / "a", outputs), written(tmp_path / "b", others)
    status, told = answer(a, b, capsys)
    assert status == 0
    assert told["provenance"] == [
        {"field": "bundle", "a": "quantized_default_int8", "b": "other", "recordings": 2},
        {"field": "parameters", "a": "", "b": "{}", "recordings": 2},
        {"field": "versions", "a": "sonyc-ml 0.1; numpy 2.0", "b": "sonyc-ml 0.2; numpy 2.0", "recordings": 2},
    ]
    assert main(["compare", str(a), str(b)]) == 0
    text = capsys.readouterr().out
    assert "parameters: nothing against {} (2 recordings)\n" in text
    assert "versions: sonyc-ml 0.1 against sonyc-ml 0.2 (2 recordings)\n" in text


def quantised(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> npt.NDArray[np.float32]:
    """Values as an int8 network's are, dequantised."""
    return (rng.integers(-128, 128, shape) + 3).astype(np.float32) * np.float32(scale)


def test_quantised_embeddings_differ_by_steps() -> None:
    """Where the values lie on a network's grid, the largest difference is counted in its steps."""
    output, rng = made("a.wav"), np.random.default_rng(1)
    values = quantised(rng, (4, 60), 0.0429)
    output = replace(output, embedding=values)
    other = changed(output, 2, 5, 3 * 0.0429)
    table = compare([output], [other]).table()["embedding"]
    assert table["quantisation_step"] == pytest.approx(0.0429, rel=1e-3)
    assert table["largest_difference_steps"] == 3
    assert other.embedding is not None
    # The one next to 0 is so small that 32-bit ARM takes it for 0.
    further = np.where(other.embedding == 0, np.float32(1e-30), np.nextafter(other.embedding, np.float32(9)))
    rounded = replace(other, embedding=further)
    table = compare([output], [rounded]).table()["embedding"]
    assert (table["equal_share"], table["equal_share_but_for_rounding"]) == (0, 239 / 240)
    assert table["largest_difference_steps"] == 3
    off_grid = changed(output, 2, 5, 0.4 * 0.0429)
    assert compare([output], [off_grid]).table()["embedding"]["largest_difference_steps"] is None
    other_scale = replace(output, embedding=quantised(rng, (4, 60), 0.05))
    assert compare([output], [other_scale]).table()["embedding"]["quantisation_step"] is None
    assert compare([made("a.wav")], [made("a.wav")]).table()["embedding"]["quantisation_step"] is None


def test_top_classes_are_counted() -> None:
    """The share of windows whose highest score is of the same class."""
    output = replace(made("a.wav"), scores=np.array([[0.6, 0.4]] * 4, np.float32))
    other = replace(output, scores=np.array([[0.6, 0.4]] * 3 + [[0.4, 0.6]], np.float32))
    assert compare([output], [other]).table()["scores"]["top_class_agreement"] == 0.75


def fewer_windows(output: Output) -> Output:
    return made(output.provenance.recording, n_windows=3)


def test_windows_that_are_others_are_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another number of windows, or windows elsewhere, are told for each recording; the rest is compared."""
    outputs = [made("a.wav"), made("b.wav"), made("c.wav")]
    shifted = replace(outputs[2], timestamps=outputs[2].timestamps + 0.25)
    a, b = written(tmp_path / "a", outputs), written(tmp_path / "b", [fewer_windows(outputs[0]), outputs[1], shifted])
    status, told = answer(a, b, capsys)
    assert status == 1
    assert told["not_comparable"] == [
        {"recording": "a.wav", "why": "4 windows against 3"},
        {"recording": "c.wav", "why": "windows that begin up to 0.25 s apart"},
    ]
    assert told["embedding"]["windows"] == 4
    (b / "b.wav.npz").unlink()
    (b / "c.wav.npz").unlink()
    assert answer(a, b, capsys)[0] == 1


def without_scores(output: Output) -> Output:
    return replace(output, scores=None, labels=())


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (made("a.wav", n_dims=5), "an embedding of 6 dimensions against an embedding of 5 dimensions"),
        (without_scores(made("a.wav")), "scores of 2 classes against no scores"),
        (replace(made("a.wav"), labels=("dog", "horn")), "other classes: number 1 is siren against horn"),
        (replace(made("a.wav"), labels=()), "classes with names against classes without"),
    ],
)
def test_a_part_that_is_another_does_not_hide_the_other(other: Output, why: str) -> None:
    """Where one of embedding and scores cannot be compared, it is told why, and the other is compared."""
    comparison = compare([made("a.wav")], [other])
    assert not comparison.same
    assert comparison.apart == [("a.wav", why)]
    compared = [part for part, found in comparison.differences.items() if found.n_windows]
    assert compared == (["scores"] if "dimensions" in why else ["embedding"])


def test_what_has_nothing_in_common_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other hops, other widths, folders without outputs and damaged ones: status 2 and a sentence."""
    a = written(tmp_path / "a", [made("a.wav")])
    output = made("a.wav")
    hop = replace(output, provenance=replace(output.provenance, hop_size_s=1.0))
    b = written(tmp_path / "b", [hop])
    assert main(["compare", str(a), str(b)]) == 2
    message = "the two cannot be compared: a.wav has a window every 0.5 s against 1 s\n"
    assert capsys.readouterr().err == f"sonyc-ml: error: {message}"
    narrow = without_scores(made("a.wav", n_dims=5))
    with pytest.raises(ConfigError, match=r"an embedding of 6 dimensions against an embedding of 5 dimensions; scores"):
        compare([output], [narrow])
    (tmp_path / "c").mkdir()
    assert main(["compare", str(a), str(tmp_path / "c")]) == 2
    assert "there are no outputs in" in capsys.readouterr().err
    (tmp_path / "c" / "a.wav.npz").write_bytes(b"PK")
    assert main(["compare", str(a), str(tmp_path / "c")]) == 2
    assert "a.wav.npz is no output, or damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "message"), [("--cosine", "in [-1, 1], and is 7"), ("--scores", "in [0, 1], and is 7")]
)
def test_tolerances_out_of_range_are_refused(
    flag: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tolerance that no numbers keep, or all do, is a mistake."""
    a = written(tmp_path / "a", [made("a.wav")])
    assert main(["compare", str(a), str(a), flag, "7"]) == 2
    assert message in capsys.readouterr().err


def test_a_bundle_says_what_is_the_same(tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its golden vector's tolerances hold in place of the usual ones, and flags in place of them."""
    wide = tmp_path / "wide" / "wide.tflite"
    wide.parent.mkdir()
    for suffix in (".tflite", ".pkl"):
        shutil.copy(tiny_bundle.with_suffix(suffix), wide.with_suffix(suffix))
    make_bundle(wide, tolerances={"cosine": 0.99, "scores": 0.2})
    output = made("a.wav")
    a = written(tmp_path / "a", [output])
    b = written(tmp_path / "b", [changed(changed(output, 1, 2, 0.1), 1, 0, 0.1, "scores")])
    assert answer(a, b, capsys)[0] == answer(a, b, capsys, "--model", str(tiny_bundle))[0] == 1
    status, told = answer(a, b, capsys, "--model", str(wide))
    assert (status, told["tolerances"]) == (0, {"cosine": 0.99, "scores": 0.2, "exact": False})
    status, told = answer(a, b, capsys, "--model", str(wide), "--scores", "0.01")
    assert (status, told["tolerances"]) == (1, {"cosine": 0.99, "scores": 0.01, "exact": False})


def test_a_bundle_without_a_golden_vector_has_no_tolerances(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then there is nothing to take, which is said; so is that there is no such bundle."""
    a = written(tmp_path / "a", [made("a.wav")])
    lone = Path(shutil.copy(tiny_bundle, tmp_path / "lone.tflite"))
    assert main(["compare", str(a), str(a), "--model", str(lone)]) == 2
    assert f"{lone} has no golden vector, and so no tolerances: give --cosine and --scores" in capsys.readouterr().err
    assert main(["compare", str(a), str(a), "--model", str(tmp_path / "none.tflite")]) == 2
    assert "none.tflite" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    """Of two streams in the same order one output each is held; in other orders they wait on the disk."""
    alive: set[int] = set()
    highest = 0

    class Watched(np.ndarray[Any, Any]):
        def __del__(self) -> None:
            alive.discard(id(self))

    def stream(numbers: Any) -> Iterator[Output]:
        nonlocal highest
        for number in numbers:
            output = made(f"{number}.wav")
            assert output.embedding is not None
            watched = output.embedding.view(Watched)
            alive.add(id(watched))
            highest = max(highest, len(alive))
            yield replace(output, embedding=watched)
            del output, watched

    assert compare(stream(range(40)), stream(range(40))).n_both == 40
    assert highest <= 4
    assert compare(stream(range(40)), stream(reversed(range(40)))).n_both == 40
    assert highest <= 4


# --- detections -------------------------------------------------------------------------------------------------------


def heard(name: str, *found: tuple[str, float, float, float]) -> Output:
    """An output without scores in which classes were detected from 0.5 on: label, start, end, highest score."""
    classes = ("dog", "siren", "cat")
    detections = tuple(
        Detection(
            start_s=start_s,
            end_s=end_s,
            label=label,
            score_mean=score,
            score_max=score,
            class_number=classes.index(label),
        )
        for label, start_s, end_s, score in found
    )
    rules = json.dumps({"detections": {"threshold": 0.5}})
    output = replace(made(name, parameters=rules), scores=None, detections=detections)
    return replace(output, labels=classes, label_numbers=(0, 1, 2))


DOG, SIREN = ("dog", 0.0, 2.0, 0.9), ("siren", 1.0, 3.0, 0.8)


@pytest.mark.parametrize(
    ("ours", "theirs", "is_same", "in_both"),
    [
        ((DOG, SIREN), (SIREN, DOG), True, 2),
        ((DOG, SIREN), (DOG,), False, 1),
        ((DOG,), (DOG, ("siren", 1.0, 3.0, 0.54)), True, 1),  # no further above its threshold than scores may differ
        ((DOG,), (("dog", 0.5, 2.5, 0.87),), True, 1),
        ((DOG,), (("dog", 0.0, 2.0, 0.8),), False, 1),
        ((DOG,), (("dog", 2.0, 4.0, 0.9),), False, 0),
        ((DOG,), (("cat", 0.0, 2.0, 0.9),), False, 0),
        ((), (), True, 0),
    ],
)
def test_detections_are_compared(
    ours: tuple[Any, ...],
    theirs: tuple[Any, ...],
    is_same: bool,
    in_both: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By class and time; their scores count as scores do, whichever of the two folders comes first."""
    a, b = written(tmp_path / "a", [heard("a.wav", *ours)]), written(tmp_path / "b", [heard("a.wav", *theirs)])
    for first, second in ((a, b), (b, a)):
        status, told = answer(first, second, capsys)
        assert (status, told["same"]) == (int(not is_same), is_same)
        assert told["detections"]["in_both"] == in_both
    assert (main(["compare", str(a), str(b), "--exact"]) == 0) == (sorted(ours) == sorted(theirs))
    assert f"detections  {in_both} in both" in capsys.readouterr().out


def test_detections_against_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That one folder has detections and the other was made without is no detail."""
    output = heard("a.wav", DOG)
    a, b = written(tmp_path / "a", [output]), written(tmp_path / "b", [replace(output, detections=None)])
    status, told = answer(a, b, capsys)
    assert (status, told["not_comparable"]) == (1, [{"recording": "a.wav", "why": "detections against none"}])
