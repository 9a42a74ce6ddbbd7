"""What `sonyc-ml info` says of a model."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring.describe import card, describe, render
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.bundles.bundle import read_bundle
from sonyc_ml.errors import BundleError, BundleIntegrityError
from tests.conftest import require_shared, vouch
from tests.support import networks, waveforms
from tests.support.networks import Spec

HAS_XNNPACK = find_spec("ai_edge_litert") is not None  # tflite-runtime's has no delegate for what is quantised


def rows(text: str) -> dict[str, str]:
    """A rendered description, by the names in its first column."""
    return {line[:15].strip(): line[16:] for line in text.splitlines()}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small network that reads SONYC's features."""
    path = tmp_path / "tiny.tflite"
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    return path


def test_a_tiny_network_is_described(tiny: Path) -> None:
    """Everything of a network and its built-in extractor is there, as plain values."""
    described = describe(tiny, n_mels=64)
    size, runtime = tiny.stat().st_size, described.pop("runtime")
    assert re.fullmatch(r"(ai-edge-litert|tflite-runtime) \d.*", runtime)
    extractor = described.pop("extractor")
    assert described == {
        "name": "tiny",
        "path": str(tiny),
        "sha256": read_bundle(tiny).sha256,
        "bytes": size,
        "operators": 2,
        "xnnpack_operators": 2 if HAS_XNNPACK else 0,
        "multiplications": 64 * 51 * 5,
        "not_counted": [],
        "assumed_kind": "log_mel",
        "inner": [],
        "constants": {},
        "state": [],
        "activation": "",
        "head": None,
        "labels": [],
        "code": [],
        "inputs": [plain_tensor("features", [1, 64, 51, 1])],
        "outputs": [plain_tensor("embedding", [1, 5])],
        "reads": "",
        "tracks": [],
    }
    assert extractor == {
        "model": "SpecModel",
        "text": "LogMel(duration=1.0, hop_size=0.1, target_sr=8000, n_fft=1024, n_mels=64, mel_hop_len=160, "
        "fmax=4000.0, fmin=0.0, res_type='kaiser_best')",
        "feature_shape": [64, 51],
        "window_size_s": 1.0,
        "hop_size_s": 0.1,
        "sample_rate": 8000,
        "res_type": "kaiser_best",
        "resampler": "kaiser_best",
        "outputs": {"embedding": 0},
        "head": "",
        "labels": [],
        "made_by": "",
    }


def plain_tensor(name: str, shape: list[int]) -> dict[str, Any]:
    text = f"{name} {shape} float32"
    return {"name": name, "shape": shape, "dtype": "float32", "scale": 0.0, "zero_point": 0, "text": text}


def test_a_description_is_laid_out_for_reading(tiny: Path) -> None:
    """One line for each thing to know, its name in front."""
    text = render(describe(tiny, hop_size=0.5))
    shown = rows(text)
    assert shown["network"] == f"{tiny}, {tiny.stat().st_size:,} bytes"
    assert shown["bundle SHA-256"] == read_bundle(tiny).sha256
    assert shown["XNNPACK"] == f"takes {2 if HAS_XNNPACK else 'none'} of 2 operators"
    assert shown["resampler"] == "kaiser_best"
    assert shown["input"] == "features [1, 64, 51, 1] float32"
    assert shown["output 0"] == "embedding [1, 5] float32"
    assert shown["model"] == "SpecModel"
    assert shown["window, hop"] == "1 s, 0.5 s"
    assert shown["sample rate"] == "8000 Hz"
    assert shown["features"] == "(64, 51) per window"
    assert shown["embedding"] == "output 0"
    assert "made by" not in shown


def test_reference_kernels_are_seen(tiny: Path) -> None:
    """Without a delegate, XNNPACK takes nothing."""
    assert rows(render(describe(tiny, reference_kernels=True)))["XNNPACK"] == "takes none of 2 operators"


def test_a_pickled_extractor_says_what_it_is_and_who_made_it(tiny: Path) -> None:
    """An extractor is named with its function, its parameters and the versions that made it."""
    exporter.export(tiny.with_suffix(".pkl"), hop_size=0.25)
    shown = rows(render(describe(vouch(tiny))))
    assert shown["model"] == "AudioModel"
    assert shown["extractor"].startswith(
        f"{tiny.with_suffix('.pkl')}: sonyc_ml.features:LogMel(duration=1.0, fmax=4000.0"
    )
    assert shown["window, hop"] == "1 s, 0.25 s"
    assert re.match(rf"Python {platform.python_version()}, dill .*, numpy {np.__version__}$", shown["made by"])


def test_a_pickle_without_a_description_is_described(tmp_path: Path) -> None:
    """A pickle that something else made is shown, and said not to describe itself."""
    path = tmp_path / "A.tflite"
    path.write_bytes(networks.reshaping(Spec((1, 44100)), Spec((1, 44100))))
    text = "def f(y, sr, hop_size=None):\n    return y[:44100].reshape(1, -1)\n"
    namespace: dict[str, Any] = {}
    exec(text, namespace)  # defined nowhere that could be imported: dill takes it by value
    import dill

    path.with_suffix(".pkl").write_bytes(dill.dumps(namespace["f"], recurse=True))
    shown = rows(render(describe(vouch(path))))
    assert shown["extractor"] == f"{path.with_suffix('.pkl')}, which does not describe itself"
    assert shown["sample rate"] == "8000 Hz"  # the manifest's word: nothing is run to find out
    assert "made by" not in shown


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"any_python": False, "python": "3.2.1"}, "holds bytecode by Python 3.2.1"),
        ({"requires": ["module_of_nobody.part"]}, "needs the module module_of_nobody.part"),
    ],
)
def test_trouble_with_an_extractor_is_part_of_the_answer(changes: dict[str, Any], problem: str, tiny: Path) -> None:
    """An extractor that by its own words cannot be loaded here does not hide what the network is."""
    description = {"function": "a:f", "parameters": {}, "python": "3.11.1", "dill": "0", "numpy": "2", "requires": []}
    line = json.dumps({"sonyc_ml_extractor": description | {"any_python": True} | changes})
    tiny.with_suffix(".pkl").write_bytes(b"damaged\n" + line.encode() + b"\n")
    described = describe(vouch(tiny))
    assert described["operators"] == 2
    shown = rows(render(described))
    assert shown["extractor"].startswith(f"none: {tiny.with_suffix('.pkl')} {problem}")
    assert "model" not in shown


def test_an_extractor_that_nothing_vouches_for_is_not_described(tiny: Path) -> None:
    """A pickle without a manifest, or changed behind it, is an error and no description."""
    tiny.with_suffix(".pkl").write_bytes(b"damaged")
    with pytest.raises(BundleIntegrityError, match=r"tiny\.pkl would be run, and no manifest lists it"):
        describe(tiny)
    vouch(tiny).with_suffix(".pkl").write_bytes(b"changed")
    with pytest.raises(BundleIntegrityError, match=r"tiny\.pkl is not the file that the manifest lists"):
        describe(tiny)


def test_an_input_of_any_length_is_described(tmp_path: Path) -> None:
    """A network that takes any length is described without one, and with one as it will run."""
    path = tmp_path / "A.tflite"
    path.write_bytes(networks.reshaping(Spec((-1, -1), name="sound"), Spec((1, -1))))
    shown = rows(render(describe(path)))
    assert shown["input"] == "sound [any, any] float32"
    assert shown["extractor"].startswith("none: a network that reads samples does not say their rate")
    assert rows(render(describe(path, target_sr=8000, duration=0.25)))["features"] == "(2000) per window"


def test_a_network_that_needs_a_length_is_described_with_one(tmp_path: Path) -> None:
    """A network that cannot run on a single sample is described as it will run."""
    path = tmp_path / "A.tflite"
    path.write_bytes(networks.reshaping(Spec((1, -1)), Spec((1, 4, -1))))
    assert describe(path, target_sr=8000, duration=0.25)["extractor"]["feature_shape"] == [2000]
    described = describe(path)  # without one, what it reads is shown all the same
    assert described["xnnpack_operators"] is None
    assert rows(render(described))["input"] == "tensor_0 [1, any] float32"


def test_a_network_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """What is no network has no description."""
    (tmp_path / "A.tflite").write_bytes(b"rubbish")
    with pytest.raises(BundleError, match="the runtime cannot read the network"):
        describe(tmp_path / "A.tflite")


@pytest.mark.parametrize("name", ["several inputs", "another type"])
def test_what_cannot_be_run_is_described(name: str, tmp_path: Path) -> None:
    """A network with several inputs, or of a type that is not read here, is shown with all its tensors."""
    path = tmp_path / "A.tflite"
    path.write_bytes(
        networks.adding((1, 5), (1, 5))
        if name == "several inputs"
        else networks.reshaping(Spec((1, 6), "int32"), Spec((6,), "int32"))
    )
    described = describe(path, target_sr=8000)
    shown = [tensor["text"] for tensor in described["inputs"]]
    assert [text.partition(" ")[2] for text in shown] == (
        ["[1, 5] float32", "[1, 5] float32"] if name == "several inputs" else ["[1, 6] int32"]
    )
    text = render(described)
    assert rows(text)["XNNPACK"].startswith("not known")
    assert rows(text)["extractor"].startswith("none: ")
    assert all(line in text for line in shown)


def test_head_labels_and_multiplications_are_shown(tmp_path: Path) -> None:
    """What belongs to the bundle is shown, whether its extractor is code or not."""
    path = tmp_path / "A.tflite"
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    (tmp_path / "head.tflite").write_bytes(networks.dense((1, 5), 2))
    for kind in ("log_mel", "pickled"):
        exporter.export(path.with_suffix(".pkl"))
        make_bundle(path, input_kind=kind, head="head.tflite", labels=("dog", "siren"), activation="none")
        shown = rows(render(describe(path)))
        assert shown["scores"] == "of the head: dog, siren"
        assert shown["head"] == "head.tflite, reads features [1, 5] float32"
        assert shown["multiplications"] == f"{64 * 51 * 5:,} for one window"
        assert shown["features"] == "(64, 51) per window"


def test_a_reader_that_leaves_is_no_error(tiny: Path) -> None:
    """`info | head` ends quietly."""
    for command in (("info",), ("info", "--json")):
        process = subprocess.Popen(
            [sys.executable, "-m", "sonyc_ml", *command, tiny], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.close()
        assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 0)


def test_quantised_tensors_show_their_scale(tmp_path: Path) -> None:
    """Scale and zero point of a quantised tensor are shown, and are plain numbers."""
    path, spec = tmp_path / "A.tflite", Spec((1, 64, 51, 1), "uint8", 0.5, 128, "levels")
    path.write_bytes(networks.reshaping(spec, Spec((1, 3264), "uint8", 0.5, 128)))
    described = describe(path)
    assert rows(render(described))["input"] == "levels [1, 64, 51, 1] uint8, 0.5 * (q - 128)"
    assert json.loads(json.dumps(described)) == described


# --- the real ones ----------------------------------------------------------------------------------------------------


def test_sonycs_network_is_described(sonyc_bundle: Path) -> None:
    """SONYC's network: all of it goes to XNNPACK, and its extractor is ours."""
    described = describe(sonyc_bundle)
    shown = rows(render(described))
    assert shown["XNNPACK"] == f"takes {17 if HAS_XNNPACK else 'none'} of 17 operators"
    assert shown["input"] == "input_3 [1, 64, 51, 1] float32"
    assert shown["output 0"] == "Identity [1, 256] float32"
    assert shown["model"] == "AudioModel"
    assert shown["window, hop"] == "1 s, 0.1 s"
    assert json.loads(json.dumps(described)) == described


def test_yamnet_is_described() -> None:
    """YAMNet has two outputs; which is what is asked for, and shown once it is said."""
    path = require_shared("models/yamnet.tflite")
    assert "the network has 2 outputs" in rows(render(describe(path)))["extractor"]
    shown = rows(render(describe(path, outputs={"scores": 0}, target_sr=16000)))
    assert (shown["model"], shown["scores"], shown["sample rate"]) == ("PCMModel", "output 0", "16000 Hz")
    assert (shown["output 0"], shown["output 1"]) == ("Identity [1, 521] float32", "Identity_1 [96, 64] float32")
    assert shown["window, hop"] == "0.975 s, 0.975 s"


def test_a_head_is_described(tmp_path: Path) -> None:
    """SONYC's head reads embeddings: the network is described, and that it is no model of samples is said."""
    path = Path(shutil.copy(require_shared("models/mlp_ust.tflite"), tmp_path))
    shown = rows(render(describe(path)))
    assert shown["input"] == "input [1, 256] float32"
    assert shown["output 0"] == "Identity [1, 8] float32"
    assert shown["extractor"].startswith("none: ")


def test_tracks_are_described(tiny: Path, tmp_path: Path) -> None:
    """What turns sound into tracks says which, as a model and as a card, and a model says which track it hears."""
    path = waveforms.make(tmp_path / "two.tflite", networks.scaling(80, 0.5, 2), tracks=("soft", "loud"))
    assert describe(path)["tracks"] == ["soft", "loud"]
    assert "tracks          soft, loud: turns sound into them" in render(describe(path))
    assert "tracks          soft, loud" in card(path)[0]
    heard = render(describe(tiny, n_mels=64, reads=f"{path}:soft"))
    assert f"hears           the track {path}:soft, not the recording itself" in heard
