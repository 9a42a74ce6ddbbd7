"""Bundles from a folder and from the hub: by a revision that cannot change, untrusted until somebody trusts them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring.hub import publish
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.bundles.location import is_address, resolve_bundle_path
from sonyc_ml.errors import BundleError, ConfigError, MissingBundleError, OwnFunctionWarning
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import load_config
from tests.conftest import needs, write_recording
from tests.support import networks
from tests.support.hub_server import REPOSITORY, REVISION, Hub, serve_hub

ADDRESS = f"hf://{REPOSITORY}@{REVISION}"
HUB = needs("huggingface_hub")  # scripts/test-extras has it
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "made here"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with a published bundle, and with files in the repository that do not belong to it."""
    path = tmp_path / "models" / "tiny.tflite"
    path.parent.mkdir()
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    exporter.export(path.with_suffix(".pkl"))
    make_bundle(path)
    publish(path, tmp_path / "repository")
    (tmp_path / "repository" / "training.ckpt").write_bytes(b"1" * 1000)
    with serve_hub(tmp_path / "repository") as served:
        yield served


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python or ``-m sonyc_ml`` as on another machine, which knows of nothing that was made here."""

    def started(hub: Hub, *arguments: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)

    return started


EMBED = """
import sys
import numpy as np
import sonyc_ml

try:
    model = sonyc_ml.load_model(sys.argv[1])
except sonyc_ml.errors.SonycMLError as error:
    sys.exit(f"{type(error).__name__}: {error}")
y = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
print(model.get_embedding(y, 8000).astype(float).sum(), model.bundle.path)
"""


# --- a folder ---------------------------------------------------------------------------------------------------------


def test_a_folder_with_one_bundle_is_enough(hub: Hub) -> None:
    """A published folder is loaded by its own path, with the numbers of the bundle that was published."""
    y = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    models = [load_model(path) for path in (hub.folder, str(hub.folder), hub.folder.parent / "models" / "tiny.tflite")]
    embeddings = [model.get_embedding(y, 8000) for model in models]
    assert np.array_equal(embeddings[0], embeddings[2])
    assert np.array_equal(embeddings[1], embeddings[2])
    assert models[0].bundle.name == "tiny"


def test_a_head_is_no_bundle(tmp_path: Path) -> None:
    """Of several networks in a folder, the one that has a manifest names the bundle."""
    for name in ("a.tflite", "head.tflite", "a.json", "metadata.json"):
        (tmp_path / name).write_bytes(b"")
    assert resolve_bundle_path(tmp_path) == tmp_path / "a.tflite"


def test_a_lone_network_is_found(tmp_path: Path) -> None:
    """A folder with one network and no manifest is that network's."""
    (tmp_path / "a.tflite").write_bytes(b"")
    assert resolve_bundle_path(tmp_path) == tmp_path / "a.tflite"


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        ((), MissingBundleError, "has no NAME.tflite in it"),
        (("a.json",), MissingBundleError, "has no NAME.tflite in it"),
        (("a.tflite", "b.tflite"), BundleError, "has 2 networks without a manifest, a.tflite, b.tflite: say which one"),
        (("a.tflite", "b.tflite", "a.json", "b.json"), BundleError, "has 2 bundles, a.tflite, b.tflite: say which one"),
    ],
)
def test_a_folder_must_have_one(tmp_path: Path, names: tuple[str, ...], kind: type[BundleError], message: str) -> None:
    """A folder with no bundle or several is refused, and says what is in it."""
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(kind, match=re.escape(message)):
        load_model(tmp_path)


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *("hf://someone/sounds", "hf://someone/sounds@main", "hf://someone/sounds@v1.0.0"),
        *(f"hf://someone/sounds@{REVISION[:-1]}", f"hf://someone/sounds@{REVISION}0", f"hf://sounds@{REVISION}"),
        *(f"hf://someone/sounds@{REVISION.upper()}", f"hf://some one/sounds@{REVISION}", f"hf://../sounds@{REVISION}"),
        *(f"hf://someone/sounds/more@{REVISION}", f"hf://someone/..@{REVISION}", "hf://", f"hf:///etc@{REVISION}"),
    ],
)
def test_only_a_full_revision_is_taken(address: str) -> None:
    """A branch, a tag, a short revision or no revision is refused before anything is asked, by saying what it takes."""
    for path in (address, Path(address)):
        with pytest.raises(BundleError, match="40 hexadecimal digits"):
            load_model(path)


def test_what_is_no_address_is_a_path() -> None:
    """Nothing else is taken for an address."""
    for path in ("a.tflite", "models/hf.tflite", "hf", Path("/models"), "https://huggingface.co/a/b"):
        assert not is_address(path)


@HUB
def test_a_bundle_is_fetched_once(hub: Hub, run: Run) -> None:
    """A bundle is loaded from the hub with the numbers that it has here, and the second time without asking the hub."""
    here = load_model(hub.folder)
    y = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    first = run(hub, "-c", EMBED, ADDRESS)
    assert first.returncode == 0, first.stderr
    assert float(first.stdout.split()[0]) == here.get_embedding(y, 8000).astype(float).sum()
    assert REVISION in first.stdout
    bundle = here.bundle.files.keys() | {"tiny.json"}
    assert hub.fetched() == bundle  # and nothing else that is there
    hub.asked.clear()
    again = run(hub, "-c", EMBED, ADDRESS)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert hub.asked == []


@HUB
def test_the_command_takes_an_address(hub: Hub, run: Run, tmp_path: Path) -> None:
    """`sonyc-ml embed --model` takes an address, and a folder."""
    write_recording(tmp_path / "recordings" / "a.wav")
    for model in (ADDRESS, hub.folder):
        output = tmp_path / f"out {'hub' if model == ADDRESS else 'folder'}"
        done = run(hub, "-m", "sonyc_ml", "embed", tmp_path / "recordings", "--model", model, "--output", output)
        assert done.returncode == 0, done.stderr
        assert (output / "a.wav.npz").exists()


@HUB
def test_code_from_the_hub_waits_for_trust(tmp_path: Path, run: Run) -> None:
    """A pickle of somebody's own code is not run until it is trusted, by the very command that the message shows."""
    path = tmp_path / "models" / "own.tflite"
    path.parent.mkdir()
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    (tmp_path / "own_features.py").write_text(
        "def get_features(y, sr, hop_size=None):\n    from sonyc_ml.features import get_features as ours\n"
        "    return ours(y, sr, hop_size=hop_size)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "sonyc_ml", "features", "export", str(path.with_suffix(".pkl"))]
    subprocess.run([*command, "--function", "own_features:get_features"], check=True, env=environment, timeout=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OwnFunctionWarning)
        make_bundle(path)
    publish(path, tmp_path / "repository")
    with serve_hub(tmp_path / "repository") as hub:
        refused = run(hub, "-c", EMBED, ADDRESS)
        assert "BundleIntegrityError" in refused.stderr
        (trust,) = re.findall(r"sonyc-ml (bundle trust \S+)", refused.stderr)
        done = run(hub, "-m", "sonyc_ml", *trust.split())
        assert done.returncode == 0, done.stderr
        loaded = run(hub, "-c", EMBED, ADDRESS)
        assert loaded.returncode == 0, loaded.stderr


@HUB
@pytest.mark.parametrize("name", ["tiny.pkl", "tiny.tflite", "tiny.golden.npz"])
def test_a_file_that_was_changed_is_refused(hub: Hub, run: Run, tmp_path: Path, name: str) -> None:
    """A file that is not the manifest's is refused, and nothing of the bundle is kept."""
    with (hub.folder / name).open("ab") as file:
        file.write(b"more")
    done = run(hub, "-c", EMBED, ADDRESS)
    assert f"BundleIntegrityError: {ADDRESS}: its {name} is not the file that its manifest lists" in done.stderr
    assert not list((tmp_path / "cache").rglob("*.tflite"))


@HUB
def test_another_revision_is_refused(hub: Hub, run: Run) -> None:
    """A hub that gives another revision than was asked for is not believed."""
    hub.says_revision = "f" * 40
    assert f"the hub gives revision {'f' * 40} instead" in run(hub, "-c", EMBED, ADDRESS).stderr


@HUB
def test_what_is_missing_is_said(hub: Hub, run: Run) -> None:
    """A file that is missing, a repository that is none, and a hub that does not answer are one sentence each."""
    (hub.folder / "tiny.pkl").unlink()
    assert "its manifest lists tiny.pkl, which is not there" in run(hub, "-c", EMBED, ADDRESS).stderr
    (hub.folder / "tiny.json").unlink()
    assert "has tiny.tflite without a manifest" in run(hub, "-c", EMBED, ADDRESS).stderr
    other = run(hub, "-c", EMBED, f"hf://someone/else@{REVISION}")
    assert f"hf://someone/else@{REVISION} cannot be fetched from {hub.address}" in other.stderr
    hub.address = "http://127.0.0.1:9"
    gone = run(hub, "-c", EMBED, ADDRESS)
    assert "cannot be fetched from http://127.0.0.1:9" in gone.stderr
    for done in (other, gone):
        assert len(done.stderr.strip().splitlines()) == 1


@HUB
def test_a_published_folder_is_what_is_fetched(hub: Hub, run: Run, tmp_path: Path) -> None:
    """What lands in the cache are the published bytes, as files that no link leads away from."""
    run(hub, "-c", EMBED, ADDRESS)
    (folder,) = (tmp_path / "cache").rglob(REVISION)
    for path in folder.iterdir():
        assert not path.is_symlink()
        assert path.read_bytes() == (hub.folder / path.name).read_bytes()
    assert sorted(path.name for path in folder.parent.iterdir()) == [REVISION]


@pytest.mark.skipif(find_spec("huggingface_hub") is not None, reason="huggingface_hub is installed here")
def test_what_is_not_installed_is_named(hub: Hub, run: Run) -> None:
    """Without the extra, one sentence says what to install, and what else can be done."""
    done = run(hub, "-c", EMBED, ADDRESS)
    assert "install the extra hub: " in done.stderr


# --- a node -----------------------------------------------------------------------------------------------------------


def test_a_node_fetches_nothing(tmp_path: Path) -> None:
    """An address is refused in a node's configuration, in a file as on the command line."""
    tables = {"spool": {"folder": tmp_path}, "output": {"folder": tmp_path / "out"}, "model": {"path": Path(ADDRESS)}}
    with pytest.raises(ConfigError, match=r"model\.path is an address on the hub, and a node fetches nothing"):
        load_config(None, tables)
    text = f'[spool]\nfolder = "a"\n[output]\nfolder = "b"\n[[model]]\npath = "{ADDRESS}"\n'
    (tmp_path / "sonyc-ml.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"model.*path is an address on the hub, and a node fetches nothing"):
        load_config(tmp_path / "sonyc-ml.toml", {})


def test_a_cache_of_others_is_not_believed(hub: Hub, run: Run, tmp_path: Path) -> None:
    """What others can write into the cache is refused, as everywhere else."""
    folder = tmp_path / "cache" / "sonyc-ml" / "hub" / REPOSITORY / REVISION
    shutil.copytree(hub.folder, folder)
    folder.chmod(0o777)
    assert "can be written by others" in run(hub, "-c", EMBED, ADDRESS).stderr
    folder.chmod(0o755)
    assert run(hub, "-c", EMBED, ADDRESS).returncode == 0
