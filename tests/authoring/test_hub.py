"""A bundle as a folder for the hub, and a network with Audacity's metadata as a bundle."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sonyc_ml
from sonyc_ml.authoring.hub import add_metadata, publish, save_model
from sonyc_ml.authoring.make import make_bundle, verify
from sonyc_ml.bundles.about import Metadata, Quantisation
from sonyc_ml.bundles.manifest import parse_manifest
from sonyc_ml.errors import BundleError
from sonyc_ml.model.loading import load_model
from tests.conftest import needs
from tests.support import layers, networks
from tests.support.command import sonyc_ml as command
from tests.support.networks import Spec

SPEC = {
    "sample_rate": 8000,
    "domain_tags": ["environmental"],
    "short_description": "Hears dogs and sirens",
    "long_description": "Hears dogs & sirens: [streets], *cities*",
    "tags": ["dogs", "sirens"],
    "labels": ["dog", "siren"],
    "effect_type": "waveform-to-labels",
    "multichannel": False,
}
NETWORK = layers.scoring((1, 4000), 2)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with a head, labels and a licence."""
    path = tmp_path / "models" / "two words.tflite"
    path.parent.mkdir()
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    path.with_name("head.tflite").write_bytes(layers.scoring((1, 5), 2))
    description = "Of the tests, with a description of more than sixty characters in all"
    make_bundle(
        path,
        input_kind="log_mel",
        head="head.tflite",
        labels=("dog", "siren"),
        description=description,
        licence="CC0-1.0",
    )
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def front_matter(card: str) -> dict[str, Any]:
    """The table at the top of a card, of which JSON is a part."""
    lines = card.split("---\n")[1].splitlines()
    return {key: json.loads(value) for key, _, value in (line.partition(": ") for line in lines)}


# --- publish ----------------------------------------------------------------------------------------------------------


def test_a_folder_for_the_hub_is_written(bundle: Path, tmp_path: Path) -> None:
    """The folder has the bundle's own files, byte for byte, a card, Audacity's metadata, and what git is to know."""
    written = publish(bundle, tmp_path / "hub" / "a", "someone/street-sounds")
    found = contents(tmp_path / "hub" / "a")
    own = contents(bundle.parent)
    assert {name: found[name] for name in own} == own
    assert set(found) - set(own) == {".gitattributes", "README.md", "metadata.json"} == set(written.files) - set(own)
    assert json.loads(found["metadata.json"]) == {
        "sample_rate": 8000,
        "domains": [],
        "short_description": "Of the tests, with a description of more than sixty…",
        "long_description": "Of the tests, with a description of more than sixty characters in all",
        "tags": [],
        "labels": ["dog", "siren"],
        "effect_type": "waveform-to-labels",
        "multichannel": False,
    }
    assert any("short_description is the beginning" in note for note in written.notes)
    assert any("says nothing of domains" in note for note in written.notes)
    card = found["README.md"].decode()
    assert front_matter(card)["license"] == "cc0-1.0"
    assert front_matter(card)["pipeline_tag"] == "audio-classification"
    assert "audacity" not in front_matter(card)["tags"]  # it cannot run this
    assert "Audacity cannot run it" in card
    assert 'load_model("hf://someone/street-sounds@REVISION")' in card
    verify(tmp_path / "hub" / "a" / bundle.name)


def test_the_bytes_are_those_of_every_machine(bundle: Path, tmp_path: Path) -> None:
    """Another process, place, time, language and umask give the same bytes."""
    publish(bundle, tmp_path / "one", "someone/sounds")
    environment = os.environ | {"PYTHONHASHSEED": "5", "LC_ALL": "C", "TZ": "Asia/Tokyo", "HOME": "/nonexistent"}
    run: list[str | Path] = [
        sys.executable,
        "-m",
        "sonyc_ml",
        "bundle",
        "publish",
        bundle.name,
        tmp_path / "b" / "other",
    ]
    done = subprocess.run(
        [*run, "--hub-id", "someone/sounds"], cwd=bundle.parent, env=environment, umask=0o027, check=False, timeout=60
    )
    assert done.returncode == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "b" / "other")
    before = contents(tmp_path / "one")
    publish(bundle, tmp_path / "one", "someone/sounds")
    assert contents(tmp_path / "one") == before


def test_the_card_says_what_was_lost(bundle: Path, tmp_path: Path) -> None:
    """The card of a quantised bundle has the figures of its manifest."""
    table = json.loads(bundle.with_suffix(".json").read_text())
    lost = Quantisation(
        "int8", "a-quantiser 1", "float 1.0.0", "0" * 64, 4096, 5, 100, 0, 7, 0.998, 0.987, 0.975, 7, 0.5, 0.25
    )
    table["quantisation"] = {name: getattr(lost, name) for name in lost.__slots__}
    bundle.with_suffix(".json").write_text(json.dumps(table))
    publish(bundle, tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    for text in (
        "recipe int8",
        "4.1 kB before",
        "0.9980 on average, 0.9870 at the lowest",
        "97.5%",
        "50.0% before, 25.0% after",
    ):
        assert text in card


def test_nothing_is_uploaded(bundle: Path, tmp_path: Path) -> None:
    """The command prints what would upload the folder, with the name on the hub, and only then."""
    done = command("bundle", "publish", bundle, tmp_path / "a folder", "--hub-id", "someone/street-sounds")
    assert done.returncode == 0, done.stderr
    assert f"  hf upload someone/street-sounds {shlex.quote(str(tmp_path / 'a folder'))} ." in done.stdout
    plain = command("bundle", "publish", bundle, tmp_path / "b")
    assert "nothing was uploaded" in plain.stdout
    assert "hf upload" not in plain.stdout


@needs("huggingface_hub")
def test_the_printed_command_is_one(bundle: Path, tmp_path: Path) -> None:
    """The hub's own command understands the printed line: offline, it is the hub that it misses, and nothing else."""
    line = shlex.split(publish(bundle, tmp_path / "a folder", "someone/street-sounds").command)
    hf = Path(sys.executable).with_name("hf")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "NO_COLOR": "1"}
    done = subprocess.run(
        [str(hf), *line[1:]], capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert line[0] == "hf"
    assert done.returncode == 1  # 2 is a mistake in the line
    assert "offline" in (done.stdout + done.stderr).lower()


def test_git_stores_the_large_files_apart(bundle: Path, tmp_path: Path) -> None:
    """Networks, pickles and golden vectors are git-lfs's, texts are not."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    publish(bundle, tmp_path / "hub")
    subprocess.run(["git", "init", "-q", tmp_path / "hub"], check=True, timeout=60)
    names = sorted(contents_of_git(tmp_path / "hub"))
    line: list[str | Path] = ["git", "-C", tmp_path / "hub", "check-attr", "filter", "--", *names]
    said = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout
    stored = {name for name in names if f"{name}: filter: lfs" in said.replace('"', "")}
    assert stored == {name for name in names if name.endswith((".tflite", ".npz", ".pkl"))}


def contents_of_git(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_a_card_of_a_person_is_kept(bundle: Path, tmp_path: Path) -> None:
    """A README.md that a person has written stays, and that is said; one that was written by this is written again."""
    publish(bundle, tmp_path / "hub")
    publish(bundle, tmp_path / "hub", "someone/sounds")
    assert "hf://someone/sounds@" in (tmp_path / "hub" / "README.md").read_text()
    (tmp_path / "hub" / "README.md").write_text("# My sounds\n")
    done = command("bundle", "publish", bundle, tmp_path / "hub")
    assert "kept:    README.md" in done.stdout
    assert (tmp_path / "hub" / "README.md").read_text() == "# My sounds\n"


def test_a_folder_has_one_bundle(bundle: Path, tmp_path: Path) -> None:
    """A folder with another bundle in it is refused and left as it was: which one it published would not be known."""
    other = bundle.with_name("other.tflite")
    shutil.copytree(bundle.parent, tmp_path / "hub")
    for path in list((tmp_path / "hub").glob("two words*")):
        path.rename(path.with_name(path.name.replace("two words", other.stem)))
    before = contents(tmp_path / "hub")
    with pytest.raises(BundleError, match=r"has another bundle in it, other\.tflite: give a folder of its own"):
        publish(bundle, tmp_path / "hub")
    assert contents(tmp_path / "hub") == before


def test_only_a_bundle_is_published(tmp_path: Path) -> None:
    """A network without a manifest is refused with the command that makes one."""
    (tmp_path / "a.tflite").write_bytes(NETWORK)
    with pytest.raises(BundleError, match=r"`sonyc-ml bundle make .*a\.tflite`"):
        publish(tmp_path / "a.tflite", tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("name", ["someone", "some one/sounds", "a/b/c", "a/", "/b", "a/b@main", "https://a/b", "../b"])
def test_a_name_on_the_hub_is_checked(bundle: Path, tmp_path: Path, name: str) -> None:
    """What is no name of a repository is refused before anything is written."""
    with pytest.raises(ValueError, match="--hub-id takes OWNER/NAME"):
        publish(bundle, tmp_path / "hub", name)
    assert not (tmp_path / "hub").exists()


def test_texts_of_a_manifest_are_texts(bundle: Path, tmp_path: Path) -> None:
    """What stands in a manifest is text in a card: it makes no links, headings or tables, and no front matter."""
    long = "a\n---\nlicense: mit\n# b"
    add_metadata(bundle, Metadata(short_description="[here](http://x) <b>", long_description=long, tags=("a: [b]",)))
    publish(bundle, tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert front_matter(card)["license"] == "cc0-1.0"
    assert front_matter(card)["tags"][-1] == "a: [b]"
    assert r"\[here\](http://x) \<b\>" in card
    assert not re.search(r"^(license: mit|# b)", card, re.MULTILINE)


# --- save_model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bytes", "path"])
def test_a_network_with_metadata_is_a_bundle(tmp_path: Path, kind: str) -> None:
    """A network, given as bytes or by its path, becomes a bundle whose labels are the scores', with metadata.json."""
    (tmp_path / "dogs.tflite").write_bytes(NETWORK)
    path = sonyc_ml.save_model(NETWORK if kind == "bytes" else tmp_path / "dogs.tflite", SPEC, tmp_path / "saved")
    assert path == tmp_path / "saved" / ("model.tflite" if kind == "bytes" else "dogs.tflite")
    model = sonyc_ml.load_model(tmp_path / "saved", golden="always")
    outputs = model.get_outputs(np.zeros(4000, np.float32), 8000)
    assert model.labels == ("dog", "siren")
    assert outputs["scores"].shape[1] == 2
    assert model.extractor.sample_rate == 8000
    wanted = {**SPEC, "domains": SPEC["domain_tags"]}
    del wanted["domain_tags"]
    assert json.loads((tmp_path / "saved" / "metadata.json").read_text()) == wanted
    publish(path, tmp_path / "hub")
    assert json.loads((tmp_path / "hub" / "metadata.json").read_text()) == wanted
    verify(tmp_path / "hub" / path.name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 396001}, r"metadata\.sample_rate must be from 0 to 396000"),
        (
            {"domains": ["birds"], "domain_tags": []},
            r"metadata\.domains must be of music, speech, environmental, other",
        ),
        ({"tags": list("abcdef")}, r"metadata\.tags has 6 entries"),
        (
            {"short_descripton": "a"},
            r"metadata\.short_descripton is not a known key; did you mean metadata\.short_desc",
        ),
        ({"multichannel": "no"}, r"metadata\.multichannel must be true or false"),
        ({"effect_type": "waveform-to-waveform", "labels": []}, "must say the rate and the tracks"),
    ],
)
def test_metadata_are_checked_first(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """What is wrong with metadata is said by its key, and nothing is written."""
    with pytest.raises(ValueError, match=message):
        save_model(NETWORK, SPEC | change, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_network_that_gives_sound_is_a_bundle(tmp_path: Path) -> None:
    """For waveform-to-waveform the labels are the tracks' names; card and metadata.json say what it is."""
    network = networks.reshaping(Spec((1, 512)), Spec((1, 512)))
    metadata = {"sample_rate": 8000, "labels": ["quieter"], "effect_type": "waveform-to-waveform"}
    path = save_model(network, metadata, tmp_path / "saved", name="a", licence="CC0-1.0")
    y = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    tracks = sonyc_ml.load_waveform_model(tmp_path / "saved").separate(y, 8000)
    assert list(tracks) == ["quieter"]
    assert np.abs(tracks["quieter"] - y).max() < 1e-5
    publish(path, tmp_path / "hub")
    found = json.loads((tmp_path / "hub" / "metadata.json").read_text())
    assert (found["labels"], found["effect_type"]) == (["quieter"], "waveform-to-waveform")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert front_matter(card)["pipeline_tag"] == "audio-to-audio"
    assert "load_waveform_model(" in card


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    """Where network and labels do not fit each other, no network is left behind."""
    with pytest.raises(BundleError, match="3 labels for 2 scores"):
        save_model(NETWORK, SPEC | {"labels": ["a", "b", "c"]}, tmp_path / "saved")
    assert list((tmp_path / "saved").iterdir()) == []


def test_keywords_say_how_it_is_made(tmp_path: Path) -> None:
    """Keywords are those of make_bundle, and say more than metadata can."""
    network = networks.reshaping(Spec((1, 4000)), Spec((1, 2, 2000)), Spec((1, 4000)))
    path = save_model(network, {"sample_rate": 8000}, tmp_path, name="a", outputs={"embedding": 1}, licence="CC0-1.0")
    manifest = parse_manifest(path.with_suffix(".json").read_bytes(), "a.json")
    assert (manifest.outputs, manifest.licence) == ({"embedding": 1}, "CC0-1.0")
    assert load_model(path).get_embedding(np.ones(8000, np.float32), 8000).shape[1] == 4000


def test_the_command_takes_metadata(tmp_path: Path) -> None:
    """`bundle make --metadata` takes Audacity's file into the manifest; a mistake in it is named before that."""
    (tmp_path / "a.tflite").write_bytes(NETWORK)
    (tmp_path / "metadata.json").write_text(json.dumps({"tags": ["dogs"], "domains": ["other"]}))
    make = ("bundle", "make", tmp_path / "a.tflite", "--target-sr", 8000, "--metadata", tmp_path / "metadata.json")
    done = command(*make)
    assert done.returncode == 0, done.stderr
    manifest = parse_manifest((tmp_path / "a.json").read_bytes(), "a.json")
    assert manifest.metadata == Metadata(domains=("other",), tags=("dogs",))
    (tmp_path / "a.json").unlink()
    (tmp_path / "metadata.json").write_text('{"tags": 5}')
    refused = command(*make)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "metadata.json: tags must be a list of strings, not 5" in refused.stderr
    assert not (tmp_path / "a.json").exists()
