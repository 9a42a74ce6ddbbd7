"""The example package is installed as a user would, named by a bundle, and runs; the schema knows every manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import jsonschema
import pytest

from sonyc_ml.authoring.make import trust
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.bundles.sections import Input
from tests.conftest import ROOT, write_recording
from tests.support import networks

SCHEMA = json.loads((ROOT / "sonyc_ml" / "bundles" / "bundle.schema.json").read_text())

PROGRAM = """
import sys
from sonyc_ml import load_model
model = load_model("octaves.tflite")
print(type(model).__module__, model.embed_file("a.wav").embedding.shape)
"""


def _write_bundle(folder: Path, parameters: dict[str, object]) -> None:
    network = folder / "octaves.tflite"
    network.write_bytes(networks.dense((1, 6)))
    files = {network.name: hashlib.sha256(network.read_bytes()).hexdigest()}
    manifest = Manifest(1, "octaves", "1.0.0", 8000, 1.0, 0.5, Input("log_mel"), files)
    own = dataclasses.replace(manifest, class_="my_library.models:OctaveModel", parameters=parameters)
    (folder / "octaves.json").write_text(own.text())
    trust(network)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed into a folder of its own by pip."""
    folder = tmp_path_factory.mktemp("library")
    source = ROOT / "examples" / "my_library"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*command, str(folder), str(source)], check=True, capture_output=True, timeout=300)
    return folder


def _run(folder: Path, library: Path) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.append({str(library)!r}){PROGRAM}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_example_runs(tmp_path: Path, library: Path) -> None:
    """A bundle that names the example's class is embedded by it."""
    _write_bundle(tmp_path, {"lowest_hz": 62.5})
    write_recording(tmp_path / "a.wav", seconds=2)
    result = _run(tmp_path, library)
    assert result.stdout == "my_library.models (3, 5)\n", result.stderr


def test_a_wrong_parameter_is_named(tmp_path: Path, library: Path) -> None:
    """The class's dataclass says which parameters there are."""
    _write_bundle(tmp_path, {"lowest": 62.5})
    assert "parameters.lowest is not a known key; did you mean parameters.lowest_hz?" in _run(tmp_path, library).stderr


def test_every_made_manifest_fits_the_schema(tiny_bundle: Path, tmp_path: Path) -> None:
    """What `bundle make` writes is what the published schema describes."""
    jsonschema.validate(json.loads(tiny_bundle.with_suffix(".json").read_text()), SCHEMA)
    _write_bundle(tmp_path, {"lowest_hz": 62.5})
    jsonschema.validate(json.loads((tmp_path / "octaves.json").read_text()), SCHEMA)


def test_schema_and_parser_know_the_same_keys(tiny_bundle: Path) -> None:
    """A key that one of the two does not know, the other does not either."""
    known = {entry.name.rstrip("_") for entry in dataclasses.fields(Manifest)}
    assert set(SCHEMA["properties"]) == known
    for name, hint in get_type_hints(Manifest).items():
        for section in filter(dataclasses.is_dataclass, get_args(hint) or (hint,)):
            there = SCHEMA["properties"][name]
            keys = {entry.name.rstrip("_") for entry in dataclasses.fields(section)}
            assert set(there.get("items", there)["properties"]) == keys, name
    required = {entry.name for entry in dataclasses.fields(Manifest) if entry.default is dataclasses.MISSING}
    optional = {
        entry.name for entry in dataclasses.fields(Manifest) if entry.default_factory is not dataclasses.MISSING
    }
    assert set(SCHEMA["required"]) == required - optional
    content = json.loads(tiny_bundle.with_suffix(".json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"other": 1}, SCHEMA)
    assert parse_manifest(json.dumps(content).encode(), "m.json").schema_version == 1
