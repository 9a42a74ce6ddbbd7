"""The configuration file: strict, and documented by the one that is shipped."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from sonyc_ml.config import Config, ModelConfig, OutputConfig, SpoolConfig, load_config
from sonyc_ml.errors import ConfigError
from tests.conftest import ROOT

SHIPPED = ROOT / "deploy" / "sonyc-ml.toml"

MINIMAL = """
[spool]
folder = "in"
[model]
path = "m.tflite"
[output]
folder = "out"
"""


def _load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "sonyc-ml.toml"
    path.write_text(text)
    return load_config(path, {})


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """A configuration means the same from every working directory."""
    config = _load(tmp_path, MINIMAL)
    assert config.spool.folder == tmp_path / "in"
    assert config.model.path == tmp_path / "m.tflite"
    assert config.output.folder == tmp_path / "out"


def test_command_line_wins(tmp_path: Path) -> None:
    """What the command line says is taken as it is, the rest from the file."""
    path = tmp_path / "c.toml"
    path.write_text(MINIMAL)
    config = load_config(path, {"model": {"path": "other.tflite", "num_threads": 2}})
    assert config.model == ModelConfig(Path("other.tflite"), num_threads=2)
    assert config.spool.folder == tmp_path / "in"


def test_only_what_says_something_reaches_the_model(tmp_path: Path) -> None:
    """A key that is not written leaves the choice to the model."""
    config = _load(tmp_path, MINIMAL.replace("[output]", "hop_size = 1\noutputs = {scores = 0}\n[output]"))
    assert config.model.parameters() == {
        "hop_size": 1.0,
        "outputs": {"scores": 0},
        "golden": "once",
        "num_threads": 1,
        "batch_size": 1,
        "reference_kernels": False,
    }


def _with(table: str, line: str) -> str:
    return MINIMAL.replace(f"[{table}]", f"[{table}]\n{line}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace("folder", "foldr", 1), r"spool\.foldr is not a known key; did you mean spool\.folder\?"),
        (MINIMAL + "[zzz]\n", r"zzz is not a known key; known are spool, model, output"),
        (MINIMAL.replace('path = "m.tflite"', ""), r"model\.path is missing; give --model NAME\.tflite, or set it"),
        (MINIMAL.replace('path = "m.tflite"', "path = 3"), r"model\.path must be a path, not 3"),
        (_with("output", "format = 1"), r"output\.format must be a string, not 1"),
        (_with("output", 'format = "pkl"'), r"output\.format must be npz or csv, not 'pkl'"),
        (_with("spool", "settle_s = true"), r"settle_s must be a number, not True"),
        (_with("spool", "settle_s = 0"), r"settle_s must be above 0 seconds, not 0"),
        (_with("spool", "extensions = ['wav']"), r"extensions must be like '\.wav'.*not 'wav'"),
        (_with("spool", "extensions = '.wav'"), r"extensions must be a list of strings"),
        (_with("model", "outputs = {scores = 1.5}"), r"outputs\.scores must be a whole number or a string, not 1\.5"),
        (_with("model", "num_threads = 1.5"), r"num_threads must be a whole number, not 1\.5"),
        ("spool = 3", r"spool must be a table"),
        ("[spool", r"is not TOML"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    """Every mistake is one sentence that names the file, the key and what it takes."""
    with pytest.raises(ConfigError, match=rf"sonyc-ml\.toml.*{message}"):
        _load(tmp_path, text)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    """A file that is not there is said to be not there."""
    with pytest.raises(ConfigError, match=r"nothing\.toml: No such file"):
        load_config(tmp_path / "nothing.toml", {})


def test_the_shipped_file_loads() -> None:
    """The annotated configuration is one that works."""
    config = load_config(SHIPPED, {})
    assert config.model.path == SHIPPED.parent / "../models/quantized_default_int8.tflite"


def test_the_shipped_file_shows_every_key_and_default(tmp_path: Path) -> None:
    """The annotated configuration, its comments taken away, knows every key and says the true defaults."""
    text = re.sub(r"(?m)^# (?=\w+ = )", "", SHIPPED.read_text())
    config = _load(tmp_path, text)
    plain = load_config(SHIPPED, {})
    assert (config.spool.extensions, config.spool.recursive, config.spool.settle_s) == (
        plain.spool.extensions,
        plain.spool.recursive,
        plain.spool.settle_s,
    )
    assert config.output.format == plain.output.format
    assert (config.model.num_threads, config.model.batch_size) == (plain.model.num_threads, plain.model.batch_size)
    for table in (ModelConfig, SpoolConfig, OutputConfig):
        for entry in dataclasses.fields(table):
            assert re.search(rf"(?m)^{entry.name} = ", text), f"{entry.name} is not in {SHIPPED.name}"
