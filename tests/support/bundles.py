"""Small bundles, and configurations that name them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring import make as maker
from sonyc_ml.node.config import Config, load_config
from tests.support import networks


def make_bundle(path: Path, n_dims: int = 5) -> Path:
    """A small bundle whose embeddings have so many numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(networks.dense((1, 64, 51, 1), n_dims))
    if not path.with_suffix(".pkl").exists():
        exporter.export(path.with_suffix(".pkl"))
    maker.make_bundle(path)
    return path


def copy_bundle(path: Path, to: Path) -> Path:
    """The files of a bundle in another folder, under their own names."""
    to.mkdir(parents=True, exist_ok=True)
    for file in path.parent.glob(f"{path.stem}.*"):
        shutil.copy(file, to)
    return to / path.name


def configure(folder: Path, *models: Path, more: str = "") -> Config:
    """A configuration with these bundles, from a file in the folder."""
    text = '[spool]\nfolder = "recordings"\n[output]\nfolder = "out"\n' + more
    text += "".join(f'\n[[model]]\npath = "{path}"\n' for path in models)
    (folder / "sonyc-ml.toml").write_text(text)
    return load_config(folder / "sonyc-ml.toml", {})


def name_class(bundle: Path, name: str, parameters: dict[str, Any] | None = None) -> Path:
    """Have the manifest name a class, with parameters, and nothing else that would build a model; and accept it."""
    manifest = json.loads(bundle.with_suffix(".json").read_text())
    manifest |= {"class": name, "parameters": parameters or {}}
    manifest.pop("golden", None)
    bundle.with_suffix(".json").write_text(json.dumps(manifest))
    maker.trust(bundle)
    return bundle


FRAGILE = """
import os, signal
from sonyc_ml.features import PCMWindows
from sonyc_ml.model import Model


class Fragile(Model):
    def make_extractor(self):
        extractor = PCMWindows(0.25, 0.25, 8000)
        compute = extractor.window_features
        extractor.window_features = lambda *arguments: self.checked(compute(*arguments))
        return extractor

    def checked(self, features):
        if abs(features).max() > 0.5:
            self.fail()
        return features

    def fail(self):
        raise KeyError("too loud")


class Deadly(Fragile):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def make_fragile(folder: Path, name: str) -> Path:
    """A bundle of a class that fails on loud recordings, and beside it the package of the class."""
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "fragile_library.py").write_text(FRAGILE)
    path = folder / "models" / "fragile.tflite"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(networks.reshaping(networks.Spec((1, 2000)), networks.Spec((1, 2000))))
    maker.make_bundle(path, input_kind="pcm", target_sr=8000)
    return name_class(path, f"fragile_library:{name}")


def write_loud(path: Path) -> Path:
    soundfile.write(path, np.full(8000, 0.9), 8000)
    return path
