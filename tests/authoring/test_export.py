"""Exported extractors: by value, in every Python, and refused in one sentence where they cannot be used."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dill
import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.authoring import export as exporter
from sonyc_ml.bundles import bundle
from sonyc_ml.bundles.bundle import Description, load_extractor, read_bundle, read_description
from sonyc_ml.errors import BundleError, BundleIntegrityError, BundleMismatchError
from sonyc_ml.features import LogMel
from tests.conftest import ROOT, needs, vouch

Floats = npt.NDArray[np.float32]

COMMAND = Path(sys.executable).with_name("sonyc-ml")
ISSUE_ARGUMENTS = "--duration=1 --hop_size=0.1 --target_sr=8000 --n_fft=1024 --n_mels=64 --mel_hop_len=160 --fmax=None"
MINOR_VERSIONS = (11, 12, 13)
HERE, HERE_PATCH = sys.version_info.minor, platform.python_version()


def noise(n_samples: int) -> Floats:
    return np.random.default_rng(1).normal(0, 0.05, n_samples).astype(np.float32)


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)


def bundle_of(pickle_path: Path) -> bundle.Bundle:
    """The bundle of an extractor, vouched for as it is now, and a network that is not looked at."""
    network = pickle_path.with_suffix(".tflite")
    network.write_bytes(b"")
    return read_bundle(vouch(network))


# --- our own extractor ------------------------------------------------------------------------------------------------


def test_the_commands_of_the_issue_give_the_same_bytes(tmp_path: Path) -> None:
    """`python sonyc_ml/features.py export …` and `sonyc-ml features export …` write the same, from any folder."""
    arguments = ISSUE_ARGUMENTS.split()
    first = run(sys.executable, ROOT / "sonyc_ml" / "features.py", "export", "models/A.pkl", *arguments, cwd=tmp_path)
    second = run(COMMAND, "features", "export", "models/B.pkl", *arguments, cwd=tmp_path)
    exporter.export(tmp_path / "models" / "C.pkl")
    content = (tmp_path / "models" / "A.pkl").read_bytes()
    assert (first.returncode, first.stderr, second.returncode, second.stderr) == (0, "", 0, "")
    assert first.stdout == (
        f"models/A.pkl: sonyc_ml.features:LogMel, {len(content):,} bytes; needs any Python from 3.11 on, numpy\n"
        "next, once the network is beside it: sonyc-ml bundle make models/A.tflite\n"
    )
    assert (tmp_path / "models" / "B.pkl").read_bytes() == content
    assert (tmp_path / "models" / "C.pkl").read_bytes() == content


def test_an_exported_extractor_is_the_extractor(tmp_path: Path) -> None:
    """The pickle's features are those of `LogMel` with its parameters, bit for bit; so are its windows and rates."""
    parameters: dict[str, Any] = {"duration": 0.5, "hop_size": 0.25, "n_mels": 40, "fmax": 3000.0}
    exporter.export(tmp_path / "A.pkl", **parameters)
    loaded, ours, y = load_extractor(bundle_of(tmp_path / "A.pkl")), LogMel(**parameters), noise(60_000)
    np.testing.assert_array_equal(loaded(y, 44100), ours(y, 44100))
    np.testing.assert_array_equal(loaded(y, 44100, hop_size=0.1), ours(y, 44100, hop_size=0.1))
    assert repr(loaded) == repr(ours)


def test_the_text_of_this_release_is_not_compiled_again(tmp_path: Path) -> None:
    """An extractor of this release is the package's own class; that of another release keeps to its own text."""
    exporter.export(tmp_path / "A.pkl", n_mels=40)
    assert type(load_extractor(bundle_of(tmp_path / "A.pkl"))) is LogMel
    shutil.copy(ROOT / "tests/support/data/version_0_1/log_mel.pkl", tmp_path / "B.pkl")
    assert type(load_extractor(bundle_of(tmp_path / "B.pkl"))) is not LogMel


def test_our_own_extractor_is_loaded_without_dill(tmp_path: Path) -> None:
    """What describes itself as source text is read by plain pickle: a node needs no dill for it."""
    exporter.export(tmp_path / "A.pkl")
    bundle_of(tmp_path / "A.pkl")
    program = (
        "import sys; sys.modules['dill'] = None\nfrom sonyc_ml.bundles.bundle import load_extractor, read_bundle\n"
        "print(load_extractor(read_bundle(sys.argv[1])))"
    )
    result = run(sys.executable, "-c", program, tmp_path / "A.tflite")
    assert result.stdout == f"{LogMel()!r}\n", result.stderr


def test_an_export_describes_itself(tmp_path: Path) -> None:
    """The pickle's last line says what it holds, with what it was made, and what it needs."""
    description = exporter.export(tmp_path / "A.pkl", n_mels=40)
    assert read_description((tmp_path / "A.pkl").read_bytes()) == description
    assert description.function == "sonyc_ml.features:LogMel"
    assert description.parameters == LogMel(n_mels=40).parameters
    assert (description.python, description.dill) == (HERE_PATCH, version("dill"))
    assert (description.numpy, description.any_python, description.requires) == (np.__version__, True, ("numpy",))


@needs("soxr")
def test_a_chosen_soxr_is_recorded(tmp_path: Path) -> None:
    """An extractor that resamples with soxr says that it needs it, on the terminal and in its description."""
    result = run(COMMAND, "features", "export", "A.pkl", "--res_type", "soxr_hq", cwd=tmp_path)
    assert result.stdout.splitlines()[0].endswith("needs any Python from 3.11 on, numpy, soxr")
    description = bundle_of(tmp_path / "A.pkl").description
    assert description is not None
    assert description.requires == ("numpy", "soxr")
    assert description.parameters["res_type"] == "soxr_hq"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--n_mels=0"], "n_mels must be a number above 0, not 0"),
        (["--fmax=9000"], "0 <= fmin < fmax <= half of target_sr must hold"),
        (["--res_type=best"], "res_type 'best' is not known; use one of kaiser_best"),
        (["--stride=1"], "there is no flag --stride"),
        (["--hop=1"], "there is no flag --hop; did you mean --hop-size?"),
        (["--function=nowhere:f"], "there is no module nowhere with a source file"),
        (["--function=nowhere.to:f"], "there is no module nowhere.to with a source file"),
        (["--function=math:sin"], "there is no module math with a source file"),
        (["--function=f"], "a function is named MODULE:NAME, not 'f'"),
        (["--function=bisect:nothing"], "the module bisect has no function nothing"),
        (["--function=string:digits"], "the module string has no function digits"),
    ],
    ids=str,
)
def test_what_cannot_be_exported_is_refused(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be meant ends the command with status 2 and a sentence; nothing is written."""
    with pytest.raises(SystemExit) as caught:
        exporter.main(["export", str(tmp_path / "A.pkl"), *arguments])
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.err.startswith(f"features.py export: error: {sentence}")
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["A.tflite", "A.json", "A.pkl"])
def test_another_file_is_not_replaced(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network, or what else is no extractor, is still there."""
    path = tmp_path / name
    path.write_bytes(b"\x1c\0\0\0TFL3")
    with pytest.raises(SystemExit, match="2"):
        exporter.main(["export", str(path)])
    assert str(path) in capsys.readouterr().err
    assert path.read_bytes() == b"\x1c\0\0\0TFL3"


def test_help_has_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` shows both ways to export."""
    with pytest.raises(SystemExit):
        exporter.main(["export", "--help"], prog="sonyc-ml features")
    text = capsys.readouterr().out
    assert text.startswith("usage: sonyc-ml features export [-h]")
    assert "--function my_module:my_features --some_kw=1" in text


# --- in every Python, without this package ----------------------------------------------------------------------------

LOAD_BARE = """
import importlib.util, pickle, sys
import dill, numpy as np
for name in ("sonyc_ml", "librosa", "soundfile", "soxr"):
    assert importlib.util.find_spec(name) is None, name
y = np.load(sys.argv[1])
for path in sys.argv[2:]:
    for module in (pickle, dill):
        with open(path, "rb") as file:
            get_features = module.load(file)
        features = get_features(y, 44100, hop_size=0.2)
        np.save(f"{path}.{module.__name__}.{sys.version_info.minor}.npy", features)
assert not {"sonyc_ml", "librosa"}.intersection(sys.modules)
print(np.__version__)
"""


def find_python(minor: int) -> Path | None:
    """A Python of this minor version that runs."""
    found = sorted(Path.home().glob(f".pyenv/versions/*/bin/python3.{minor}"), reverse=True)
    on_path = shutil.which(f"python3.{minor}")
    for python in [*found, *([Path(on_path)] if on_path else [])]:
        if run(python, "-c", "import venv").returncode == 0:
            return python
    return None


@pytest.fixture(scope="session")
def bare_pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Pythons by their minor version, each with numpy and dill and nothing else."""
    folder, pythons = tmp_path_factory.mktemp("bare"), {}
    for minor in MINOR_VERSIONS:
        python = find_python(minor)
        if python is not None and run(python, "-m", "venv", "--without-pip", folder / str(minor)).returncode == 0:
            pythons[minor] = folder / str(minor) / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["install", "-q", "--no-compile", "--only-binary=:all:", "numpy", f"dill=={version('dill')}"]
    running = {minor: subprocess.Popen([*pip, "--python", path, *options]) for minor, path in pythons.items()}
    return {minor: pythons[minor] for minor, process in running.items() if process.wait() == 0}


def require_bare(pythons: dict[int, Path], minor: int) -> Path:
    if minor not in pythons:
        pytest.skip(f"there is no Python 3.{minor} here, or pip could not give it numpy and dill")
    return pythons[minor]


@pytest.fixture(scope="session")
def exported_everywhere(bare_pythons: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The built-in extractor as each Python exports it, by minor version."""
    folder, features = tmp_path_factory.mktemp("exported"), ROOT / "sonyc_ml" / "features.py"
    paths = {minor: folder / f"{minor}.pkl" for minor in bare_pythons}
    for minor, path in paths.items():
        result = run(bare_pythons[minor], features, "export", path, *ISSUE_ARGUMENTS.split(), cwd=folder)
        assert result.returncode == 0, result.stderr
    return paths


@pytest.mark.parametrize("minor", MINOR_VERSIONS)
def test_every_python_reads_what_any_exported(
    minor: int, bare_pythons: dict[int, Path], exported_everywhere: dict[int, Path], tmp_path: Path
) -> None:
    """With numpy and dill alone, by pickle and by dill, every Python computes the features of every Python's export."""
    python = require_bare(bare_pythons, minor)
    y = noise(3 * 44100 + 7)
    np.save(tmp_path / "y.npy", y)
    pickles = [shutil.copy(path, tmp_path) for path in exported_everywhere.values()]
    result = run(python, "-I", "-c", LOAD_BARE, tmp_path / "y.npy", *pickles)
    assert result.returncode == 0, result.stderr
    expected = LogMel()(y, 44100, 0.2)
    computed = [np.load(path) for path in tmp_path.glob(f"*.{minor}.npy")]
    assert len(computed) == 2 * len(pickles)
    for features in computed:
        if result.stdout.strip() == np.__version__:
            np.testing.assert_array_equal(features, expected)
        assert np.abs(features - expected).max() <= 1e-4


def test_every_python_exports_the_same_pickle(exported_everywhere: dict[int, Path]) -> None:
    """Whichever Python exports it, all but the description is the same to the byte."""
    contents = {path.read_bytes().rpartition(b"\n{")[0] for path in exported_everywhere.values()}
    if not contents:
        pytest.skip("no Python could be given numpy and dill")
    assert len(contents) == 1


# --- a function of the user's own -------------------------------------------------------------------------------------

USER_MODULE = '''
from __future__ import annotations
from dataclasses import dataclass
import numpy as np

OFFSET = 2.0

@dataclass
class Scale:
    factor: float

def helper(values):
    return Scale(3.0).factor * values + OFFSET

def my_features(y, sr, hop_size=None, some_kw=1, bands=(1,), duration=0.5, name=None, flag=False):
    """Means of windows, so often and so scaled."""
    window, hop = round(duration * sr), round((hop_size or 0.25) * sr)
    starts = range(0, max(1, len(y) - window + 1), hop)
    rows = np.array([[some_kw * helper(y[i : i + window].mean())] * len(bands) for i in starts])
    assert name is None or flag is True
    return rows.astype(np.float32)
'''

MakeModule = Callable[[str], str]


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeModule:
    """Write a module into a folder that Python looks into; return its name, of its own for every test."""
    folder = tmp_path / "own"
    folder.mkdir()
    name = f"module_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"

    def make(text: str) -> str:
        (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        return name

    return make


def test_a_users_function_travels_by_value(tmp_path: Path, bare_pythons: dict[int, Path]) -> None:
    """A function with its keywords, helpers, constants and classes is loaded where its module does not exist."""
    (tmp_path / "my_module.py").write_text(USER_MODULE)
    result = run(
        *(COMMAND, "features", "export", "OUT.pkl", "--function", "my_module:my_features"),
        *("--some_kw=2", "--bands=[1, 2, 3]", "--name", "x", "--flag=True", "--hop_size=0.5"),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].endswith(f"needs Python 3.{HERE}, dill, numpy")
    assert result.stdout.splitlines()[1].endswith("sonyc-ml bundle make OUT.tflite")
    (tmp_path / "my_module.py").unlink()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    y = np.full(8000, 0.5, np.float32)
    np.testing.assert_array_equal(load_extractor(bundle_of(tmp_path / "OUT.pkl"))(y, 8000), np.full((2, 3), 7.0))
    program = "import dill, sys, numpy; print(dill.load(open(sys.argv[1], 'rb'))(numpy.ones(8000), 8000).tolist())"
    if HERE in bare_pythons:
        bare = run(bare_pythons[HERE], "-I", "-c", program, tmp_path / "OUT.pkl")
        assert bare.stdout == "[[10.0, 10.0, 10.0], [10.0, 10.0, 10.0]]\n", bare.stderr


def test_modules_travel_by_name(tmp_path: Path, make_module: MakeModule, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is installed to be edited lies where it likes: its state is neither taken nor put back."""
    text = "import edited_library\ndef my_features(y, sr, hop_size=None): return edited_library.LEVEL\n"
    name = make_module(text)
    (tmp_path / "own" / "edited_library.py").write_text("LEVEL = 'quiet'\n")
    content = exporter.by_value(exporter.find_function(f"{name}:my_features"))
    library = sys.modules["edited_library"]
    monkeypatch.setattr(library, "LEVEL", "loud")
    assert dill.loads(content)(None, 8000) == "loud"
    assert vars(library)["LEVEL"] == "loud"
    monkeypatch.delitem(sys.modules, "edited_library")


def test_a_users_function_is_described(tmp_path: Path, make_module: MakeModule) -> None:
    """Its description has its windows and plain keywords, and that it holds bytecode."""
    name = make_module(USER_MODULE)
    description = exporter.export_function(tmp_path / "A.pkl", f"{name}:my_features", some_kw=2, bands=[1, 2])
    assert description.function == f"{name}:my_features"
    assert description.parameters == {"duration": 0.5, "hop_size": None, "some_kw": 2}
    assert not description.any_python
    assert "numpy" in description.requires


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--kw=None"], "None"),
        (["--kw=True"], "True"),
        (["--kw", "1.5"], "1.5"),
        (["--kw=-3"], "-3"),
        (["--kw=[1, 'a', None]"], "[1, 'a', None]"),
        (["--kw={'a': (1, 2)}"], "{'a': (1, 2)}"),
        (["--kw=hann"], "'hann'"),
        (["--kw="], "''"),
        (["--kw=a=b"], "'a=b'"),
    ],
    ids=str,
)
def test_keywords_are_read_as_python_values(
    arguments: list[str], expected: str, tmp_path: Path, make_module: MakeModule
) -> None:
    """A keyword's value is a Python literal, or else a string."""
    name = make_module("def f(y, sr, hop_size=None, kw=0):\n    return repr(kw)\n")
    assert exporter.main(["export", str(tmp_path / "A.pkl"), "--function", f"{name}:f", *arguments]) == 0
    assert load_extractor(bundle_of(tmp_path / "A.pkl"))(None, 8000, hop_size=None) == expected


@pytest.mark.parametrize(
    ("text", "arguments", "sentence"),
    [
        ("def f(y, sr, hop_size=None): ...", ["--kw=1"], r".*:f\(y, sr, hop_size=None\) cannot be called as .* 'kw'"),
        ("def f(y, sr): ...", [], r".*:f\(y, sr\) cannot be called as .* 'hop_size'"),
        ("def f(y, sr, n, hop_size=None): ...", [], ".*: missing a required argument: 'n'"),
        ("def f(y, sr, hop_size=None): ...", ["more"], "keywords are given as --name=value, not 'more'"),
        ("def f(y, sr, hop_size=None): ...", ["--kw"], "keywords are given as --name=value, not '--kw'"),
        ("def f(", [], r"the module .* cannot be loaded \(SyntaxError: "),
        ("import not_installed_anywhere", [], r"the module .* cannot be loaded \(ModuleNotFoundError: "),
        ("g = iter([])\ndef f(y, sr, hop_size=None): return g2\ng2 = (i for i in g)", [], ".*cannot be pickled"),
    ],
    ids=["unknown keyword", "no hop_size", "missing keyword", "no flag", "no value", "syntax", "import", "generator"],
)
def test_a_function_that_cannot_be_exported_is_refused(
    text: str,
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    make_module: MakeModule,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A function that could not be called or carried is refused in one line, and nothing is written."""
    name = make_module(text)
    with pytest.raises(SystemExit) as caught:
        exporter.main(["export", str(tmp_path / "A.pkl"), "--function", f"{name}:f", *arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert re.match("features.py export: error: " + sentence, error), error
    assert error.count("\n") == 1
    assert not (tmp_path / "A.pkl").exists()


def test_a_function_that_needs_another_local_module_is_refused(tmp_path: Path) -> None:
    """What the node would miss is found when it is exported: the sentence says so, and nothing is written."""
    (tmp_path / "local_helper.py").write_text("def level(y):\n    return y.mean()\n")
    (tmp_path / "my_module.py").write_text(
        "import local_helper\ndef f(y, sr, hop_size=None):\n    return local_helper.level(y)\n"
    )
    result = run(COMMAND, "features", "export", "OUT.pkl", "--function=my_module:f", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "sonyc-ml features export: error: the pickle could not be loaded outside this folder (ModuleNotFoundError: "
        "No module named 'local_helper'): only what the function's own module defines travels with it; move what it "
        "needs into that module, or install it as a package\n"
    )
    assert not (tmp_path / "OUT.pkl").exists()


# --- what the node refuses --------------------------------------------------------------------------------------------


class Plant:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


REMEDY = f"this is Python {HERE_PATCH}: export it again with this Python, or run it with Python 3.9"


def described(**changes: Any) -> Description:
    values: dict[str, Any] = {
        "function": "my_module:f",
        "parameters": {},
        "python": HERE_PATCH,
        "dill": "0.4.1",
        "numpy": "2.4.6",
        "any_python": False,
        "requires": ("numpy",),
    }
    return Description(**(values | changes))


def test_a_description_is_read_without_unpickling(tmp_path: Path) -> None:
    """Reading what a pickle says of itself runs nothing of it."""
    (tmp_path / "A.pkl").write_bytes(pickle.dumps(Plant(tmp_path / "mark")) + described().line())
    description = bundle_of(tmp_path / "A.pkl").description
    assert description == described()
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"python": "3.9.1"}, f"holds bytecode by Python 3.9.1 with dill 0.4.1 and numpy 2.4.6, and {REMEDY}"),
        ({"requires": ("numpy", "module_of_nobody")}, "needs the module module_of_nobody, which is not installed here"),
    ],
    ids=["another Python", "a missing module"],
)
def test_what_cannot_run_here_is_refused_before_unpickling(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    """Bytecode of another Python, and missing modules, are refused by the description, and nothing is run."""
    path, mark = tmp_path / "A.pkl", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Plant(mark)) + described(**changes).line())
    with pytest.raises(BundleMismatchError) as caught:
        load_extractor(bundle_of(path))
    assert str(caught.value).startswith(f"{path} {sentence}")
    assert not mark.exists()
    path.write_bytes(pickle.dumps(Plant(mark)) + described().line())
    with pytest.raises(BundleMismatchError, match="holds a NoneType, not a function"):
        load_extractor(bundle_of(path))
    assert mark.exists()


@pytest.mark.parametrize("minor", [minor for minor in MINOR_VERSIONS if minor != HERE])
def test_bytecode_is_refused_by_another_python(
    minor: int, tmp_path: Path, make_module: MakeModule, bare_pythons: dict[int, Path]
) -> None:
    """A user's function exported here is refused by another Python, with both versions and what to do."""
    python = require_bare(bare_pythons, minor)
    exporter.export_function(tmp_path / "A.pkl", f"{make_module(USER_MODULE)}:my_features")
    bundle_of(tmp_path / "A.pkl")
    program = (
        "import sys\nfrom sonyc_ml.bundles.bundle import load_extractor, read_bundle\n"
        "try: load_extractor(read_bundle(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__, error)"
    )
    result = run(python, "-c", program, tmp_path / "A.tflite", PYTHONPATH=str(ROOT))
    assert result.stdout.startswith(
        f"BundleMismatchError {tmp_path}/A.pkl holds bytecode by Python {HERE_PATCH} with dill"
    ), result.stderr
    assert f"and this is Python 3.{minor}." in result.stdout
    assert result.stdout.endswith(f"export it again with this Python, or run it with Python 3.{HERE}\n")


def damaged(content: bytes, way: str) -> bytes:
    return {"cut": content[: len(content) // 2], "no pickle": b"not a pickle", "empty": b""}[way]


@pytest.mark.parametrize("way", ["cut", "no pickle", "empty"])
def test_a_damaged_pickle_is_refused(way: str, tmp_path: Path) -> None:
    """A pickle that is cut short or none at all is refused, with what happened and what to do."""
    path = tmp_path / "A.pkl"
    exporter.export(path)
    path.write_bytes(damaged(path.read_bytes(), way))
    with pytest.raises(BundleMismatchError) as caught:
        load_extractor(bundle_of(path))
    assert re.fullmatch(
        re.escape(f"{path} cannot be loaded by Python {HERE_PATCH} (")
        + r".+\); it was made by a Python that it does not name: export it again with this Python",
        str(caught.value),
    )


def test_a_pickle_of_a_missing_module_is_refused(tmp_path: Path) -> None:
    """A pickle by reference, as plain pickle and dill write it, is refused with the module's name."""
    (tmp_path / "A.pkl").write_bytes(b"cmodule_of_nobody\nget_features\n.")
    with pytest.raises(BundleMismatchError, match="needs the module module_of_nobody, which is not installed here"):
        load_extractor(bundle_of(tmp_path / "A.pkl"))


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    """A pickle that holds no function is refused with what it holds."""
    (tmp_path / "A.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(BundleMismatchError, match=r"A\.pkl holds a dict, not a function"):
        load_extractor(bundle_of(tmp_path / "A.pkl"))


@needs("soxr")
def test_no_soxr_refuses_an_extractor_that_needs_it(tmp_path: Path) -> None:
    """An extractor exported with soxr is refused at load where soxr is not installed."""
    exporter.export(tmp_path / "A.pkl", res_type="soxr_hq")
    bundle_of(tmp_path / "A.pkl")
    program = (
        "import sys; sys.modules['soxr'] = None\nfrom sonyc_ml.bundles.bundle import load_extractor, read_bundle\n"
        "try: load_extractor(read_bundle(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__, error)"
    )
    result = run(sys.executable, "-c", program, tmp_path / "A.tflite")
    assert result.stdout.startswith(f"BundleMismatchError {tmp_path}/A.pkl needs the module soxr, which is not")


@pytest.mark.parametrize(
    "last_line",
    [
        b"",
        b"text",
        b'{"sonyc_ml_extractor": ',
        b'{"sonyc_ml_extractor": {}}',
        b'{"sonyc_ml_extractor": []}',
        b'{"sonyc_ml_extractor": {"requires": 1}}',
        b'{"sonyc_ml_extractor": {"requires": [], "more": 1}}',
        b"\xff\xfe",
    ],
)
def test_a_pickle_of_something_elses_making_has_no_description(last_line: bytes) -> None:
    """A last line that is not ours is no description, and no error."""
    assert read_description(pickle.dumps(1) + b"\n" + last_line + b"\n") is None


# --- the bundle's files -----------------------------------------------------------------------------------------------


def test_a_bundle_has_the_digest_of_its_manifest(tmp_path: Path) -> None:
    """The bundle's SHA-256 is what `sha256sum NAME.json` prints, and that file has what it prints for the others."""
    network = tmp_path / "A.tflite"
    network.write_bytes(b"network")
    assert read_bundle(network).sha256 == sha256sum(network)
    (tmp_path / "A.pkl").write_bytes(b"extractor")
    read = read_bundle(vouch(network))
    assert read.sha256 == sha256sum(tmp_path / "A.json")
    assert json.loads((tmp_path / "A.json").read_bytes())["files"] == {
        name: sha256sum(tmp_path / name) for name in ("A.tflite", "A.pkl")
    }


def sha256sum(path: Path) -> str:
    return run("sha256sum", path).stdout.partition(" ")[0]


def test_a_changed_extractor_changes_the_bundles_digest(tmp_path: Path) -> None:
    """Two bundles that differ in a byte of any file have different digests."""
    digests = set()
    for network, extractor in ((b"network", b"extractor"), (b"network", b"Extractor"), (b"Network", b"extractor")):
        (tmp_path / "A.tflite").write_bytes(network)
        (tmp_path / "A.pkl").write_bytes(extractor)
        digests.add(read_bundle(vouch(tmp_path / "A.tflite")).sha256)
    assert len(digests) == 3


def test_a_bundle_holds_what_was_read(tmp_path: Path) -> None:
    """Name, paths and contents are those of the files; its text does not spill them."""
    (tmp_path / "A.tflite").write_bytes(b"network")
    read = read_bundle(str(tmp_path / "A.tflite"))
    assert (read.name, read.network, read.pickle, read.description) == ("A", b"network", None, None)
    assert (read.path, read.pickle_path) == (tmp_path / "A.tflite", tmp_path / "A.pkl")
    assert (read.manifest, read.head) == (None, None)
    (tmp_path / "A.pkl").write_bytes(b"extractor")
    vouched = read_bundle(vouch(tmp_path / "A.tflite"))
    assert (vouched.network, vouched.pickle) == (b"network", b"extractor")
    assert vouched.files == {"A.tflite": b"network", "A.pkl": b"extractor"}
    for text in (repr(read), repr(vouched)):
        assert not re.search("b'network'|b'extractor'", text)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("A.pkl", "a model is named by its network, NAME.tflite"), ("B.tflite", "No such file or directory")],
)
def test_a_bundle_without_a_network_is_refused(name: str, sentence: str, tmp_path: Path) -> None:
    """A path that is no network, or is not there, is refused by its name."""
    with pytest.raises(BundleError, match=f"{name}: {sentence}$"):
        read_bundle(tmp_path / name)


def test_a_bundle_without_an_extractor_says_how_to_make_one(tmp_path: Path) -> None:
    """Asking for an extractor that is not there names the command that writes it."""
    (tmp_path / "A.tflite").write_bytes(b"")
    with pytest.raises(BundleError, match=r"A\.pkl does not exist; make it with `sonyc-ml features export`"):
        load_extractor(read_bundle(tmp_path / "A.tflite"))


def test_a_pickle_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A folder in the extractor's place, or nothing where one was vouched for, is refused by its name."""
    path = tmp_path / "A.pkl"
    path.write_bytes(b"extractor")
    network = bundle_of(path).path
    path.unlink()
    with pytest.raises(BundleError, match=r"A\.pkl: No such file or directory"):
        read_bundle(network)
    path.mkdir()
    with pytest.raises(BundleError, match=r"A\.pkl is not a file"):
        read_bundle(network)
    network.with_suffix(".json").unlink()
    with pytest.raises(BundleIntegrityError, match=r"A\.pkl would be run, and no manifest lists it"):
        read_bundle(network)


def test_the_description_is_one_line_of_json(tmp_path: Path) -> None:
    """The last line is JSON that any tool reads: `tail -n 1 NAME.pkl`."""
    exporter.export(tmp_path / "A.pkl")
    line = run("tail", "-n", "1", tmp_path / "A.pkl").stdout
    assert json.loads(line)["sonyc_ml_extractor"]["function"] == "sonyc_ml.features:LogMel"
