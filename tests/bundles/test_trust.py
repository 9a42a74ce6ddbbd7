"""Code of a bundle that was not made here runs only after a person has said so, once; networks are data."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml import features
from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring.describe import describe, render
from sonyc_ml.authoring.make import make_bundle, trust, verify
from sonyc_ml.batch.job import Job
from sonyc_ml.bundles.bundle import read_bundle
from sonyc_ml.bundles.integrity import read_guarded
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.bundles.manifest import Manifest
from sonyc_ml.bundles.own_extractor import BUILD, is_own_extractor
from sonyc_ml.bundles.sections import Input
from sonyc_ml.errors import BundleError, BundleIntegrityError, BundleMismatchError, StoreError
from sonyc_ml.model import AudioModel
from sonyc_ml.model.loading import load_model
from tests.conftest import ROOT, write_recording
from tests.support import networks
from tests.support.bundles import configure
from tests.support.command import run_ssh_keygen, sonyc_ml

OLD = ROOT / "tests" / "support" / "data" / "version_0_1"
SENTENCE = "is code that was not made on this machine, and nobody has accepted it here; if you trust who made it: "


FUNCTION = """
import numpy as np


def features(y, sr, hop_size=None, duration=1.0):
    n_windows = max(1, 1 + (len(y) - sr) // max(1, round((hop_size or 0.1) * sr)))
    return np.full((n_windows, 64, 51), {level}, np.float32)
"""


class Mark:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def list_files(network: Path, **changes: Any) -> Path:
    """Write a manifest that holds the digests of the files beside it, as anybody can."""
    files = {path.name: sha256(path) for path in network.parent.glob(f"{network.stem}.*") if path.suffix != ".json"}
    manifest = Manifest(1, network.stem, "1.0.0", 8000, 1.0, 0.1, Input("pickled"), files)
    network.with_suffix(".json").write_text(json.dumps(json.loads(manifest.text()) | changes))
    return network


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what is remembered here."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "sonyc-ml"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """There as soon as the code of a bundle from elsewhere has run."""
    return tmp_path / "mark"


@pytest.fixture
def foreign(tmp_path: Path, mark: Path) -> Path:
    """Three files from elsewhere that fit each other: network, pickle, manifest with the right digests."""
    network = tmp_path / "models" / "a.tflite"
    network.parent.mkdir()
    network.write_bytes(networks.dense((1, 64, 51, 1)))
    network.with_suffix(".pkl").write_bytes(pickle.dumps(Mark(mark)))
    return list_files(network)


@pytest.fixture
def foreign_class(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network, and a manifest that names a class of a module that is importable here."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "foreign_module.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    sys.modules.pop("foreign_module", None)
    network = tmp_path / "models" / "b.tflite"
    network.parent.mkdir(exist_ok=True)
    network.write_bytes(networks.dense((1, 64, 51, 1)))
    return list_files(network, **{"class": "foreign_module:Model", "input": {"kind": "pcm"}})


@pytest.fixture(params=["foreign", "foreign_class"])
def attack(request: pytest.FixtureRequest) -> Path:
    """Each kind of code that can be in a bundle."""
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound bundle that was made on another machine."""
    network = tmp_path / "elsewhere" / "c.tflite"
    network.parent.mkdir()
    network.write_bytes(networks.dense((1, 64, 51, 1)))
    export_function(network, 1)
    with monkeypatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "state elsewhere"))
        make_bundle(network)
    return network


def export_function(network: Path, level: int) -> None:
    """A function of somebody's own as the extractor; another one for each level."""
    (network.parent / "somebodys.py").write_text(FUNCTION.format(level=level))
    shutil.rmtree(network.parent / "__pycache__", ignore_errors=True)  # Python tells those of one second apart by size
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(network.parent)
        patch.delitem(sys.modules, "somebodys", raising=False)
        importlib.invalidate_caches()
        exporter.export_function(network.with_suffix(".pkl"), "somebodys:features", duration=1.0)
    sys.modules.pop("somebodys", None)


def refusal(path: Path, **keywords: Any) -> str:
    with pytest.raises(BundleIntegrityError) as caught:
        load_model(path, **keywords)
    return str(caught.value)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_manifest_does_not_vouch_for_itself(attack: Path, mark: Path) -> None:
    """Right digests prove that files belong together, and not who made them: nothing of them is run by any way in."""
    assert f"{SENTENCE}sonyc-ml bundle trust {attack}" in refusal(attack)
    ways: tuple[Callable[[], object], ...] = (
        lambda: verify(attack),
        Job(str(attack)).load_model,
        lambda: load_model(attack, golden="never"),
    )
    for way in ways:
        with pytest.raises(BundleIntegrityError, match="nobody has accepted it here"):
            way()
    assert not mark.exists()


def test_a_class_of_models_is_no_way_round(foreign: Path, mark: Path) -> None:
    """Nor is the class that reads pickles, nor saying the kind of input."""
    with pytest.raises(BundleIntegrityError, match="nobody has accepted"):
        AudioModel(foreign)
    assert SENTENCE in refusal(foreign, input_kind="pickled")
    assert not mark.exists()


@pytest.mark.parametrize("command", ["info", "bundle info", "bundle verify", "doctor", "embed", "watch"])
def test_no_command_runs_it(
    attack: Path, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Commands that show it show it; those that would run it refuse in one sentence with the command to paste."""
    arguments: dict[str, tuple[object, ...]] = {
        "doctor": ("--model", attack),
        "embed": (write_recording(tmp_path / "in" / "a.wav"), "--model", attack, "--output", tmp_path / "out"),
        "watch": (tmp_path / "in", "--model", attack, "--output", tmp_path / "out"),
    }
    (tmp_path / "in").mkdir(exist_ok=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    result = sonyc_ml(*command.split(), *arguments.get(command, (attack,)))
    assert not mark.exists()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.npz"))
    if "info" in command:
        assert (result.returncode, result.stderr) == (0, "")
        return
    shown = result.stderr if command != "doctor" else result.stdout
    assert f"{SENTENCE}sonyc-ml bundle trust {attack}" in shown
    assert result.returncode != 0
    assert "Traceback" not in result.stderr


def test_a_changed_byte_is_other_code(elsewhere: Path) -> None:
    """What was accepted is the content, not the name: another pickle in its place is asked for anew."""
    trust(elsewhere)
    load_model(elsewhere)
    export_function(elsewhere, 2)
    list_files(elsewhere)
    assert SENTENCE in refusal(elsewhere)


def test_a_manifest_with_a_class_is_accepted_as_it_is(foreign_class: Path, mark: Path) -> None:
    """Another class, or the same with other parameters, is asked for anew."""
    trust(foreign_class)
    list_files(foreign_class, **{"class": "foreign_module:Other", "input": {"kind": "pcm"}})
    assert SENTENCE in refusal(foreign_class)
    assert not mark.exists()


def test_an_accepted_pickle_does_not_let_a_class_run(elsewhere: Path, mark: Path, foreign_class: Path) -> None:
    """Each code is accepted for itself: a manifest with a class around an accepted pickle is refused."""
    trust(elsewhere)
    list_files(elsewhere, **{"class": "foreign_module:Model"})
    assert "the class foreign_module:Model of" in refusal(elsewhere)
    assert not mark.exists()


# --- what runs --------------------------------------------------------------------------------------------------------


def test_it_runs_after_trust(elsewhere: Path) -> None:
    """One `bundle trust` is enough for every command; the manifest and its signature stay as they are."""
    before = elsewhere.with_suffix(".json").read_bytes()
    assert SENTENCE in refusal(elsewhere)
    result = sonyc_ml("bundle", "trust", elsewhere)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"may run: {elsewhere.with_suffix('.pkl')}, by {os.environ['XDG_STATE_HOME']}/sonyc-ml/trusted" in (
        result.stdout
    )
    assert elsewhere.with_suffix(".json").read_bytes() == before
    load_model(elsewhere)


def test_trust_runs_nothing(attack: Path, mark: Path) -> None:
    """To accept a bundle is not to run it."""
    trust(attack)
    assert not mark.exists()
    with pytest.raises(BundleError, match="not"):  # no function, no class
        load_model(attack)
    assert mark.exists()


def test_a_read_only_bundle_can_be_trusted(elsewhere: Path) -> None:
    """A folder that only others write is no obstacle: acceptance is written down with the user, not in the bundle."""
    elsewhere.parent.chmod(0o555)
    try:
        assert trust(elsewhere).name == elsewhere.stem
        assert load_model(elsewhere).bundle.accepted
    finally:
        elsewhere.parent.chmod(0o755)


def test_what_is_made_here_runs_here(elsewhere: Path) -> None:
    """`bundle make` by this user is acceptance."""
    make_bundle(elsewhere)
    assert load_model(elsewhere).bundle.accepted


def test_a_network_is_data(foreign: Path, mark: Path) -> None:
    """Without a pickle or class of its own a bundle needs nobody's trust, wherever it comes from."""
    list_files(foreign, input={"kind": "log_mel"})
    load_model(foreign)
    foreign.with_suffix(".pkl").unlink()
    load_model(list_files(foreign, input={"kind": "log_mel"}))
    assert not mark.exists()


def test_the_default_bundle_runs_anywhere(tmp_path: Path) -> None:
    """The extractors that are shipped are known, also from a copy of the folder."""
    for path in (ROOT / "models").glob("*.pkl"):
        assert is_own_extractor(path.read_bytes()), "add the SHA-256 of its features.py to EARLIER_TEXTS"
    shutil.copytree(ROOT / "models", tmp_path / "models", dirs_exist_ok=True)
    load_model(tmp_path / "models" / "quantized_default_int8.tflite")


@pytest.mark.parametrize("parameters", [{}, {"fmin": 20.0, "n_mels": 40, "res_type": "kaiser_best"}])
def test_our_own_extractor_is_no_foreign_code(tmp_path: Path, mark: Path, parameters: dict[str, Any]) -> None:
    """A pickle that only builds the package's own features runs wherever the package does, with any parameters."""
    exporter.export(tmp_path / "a.pkl", **parameters)
    assert is_own_extractor((tmp_path / "a.pkl").read_bytes())
    assert is_own_extractor((OLD / "log_mel.pkl").read_bytes())


def forged(mark: Path) -> Iterator[Any]:
    """Pickles that look like ours, as bytes: each runs something else as well, or instead."""
    text, evil = Path(features.__file__).read_text(), f"__import__('os').mkdir({str(mark)!r})"
    ours = {"source": text, "parameters": {}}

    def call(*arguments: Any) -> bytes:
        """The opcodes that call eval."""
        return b"cbuiltins\neval\n" + pickle.dumps(arguments, 2)[2:-1] + b"R"

    yield pytest.param(b"\x80\x02" + call(evil) + b"0" + call(BUILD, ours) + b".", id="before it")
    yield pytest.param(b"\x80\x02" + call(BUILD, ours) + call(evil) + b"0.", id="after it")
    yield pytest.param(b"\x80\x02" + call(evil) + b".", id="instead of it")
    yield pytest.param(b"\x80\x02" + call(BUILD, ours | {"source": f"{text}\n{evil}"}) + b".", id="a line more")
    yield pytest.param(b"\x80\x02" + call(BUILD, ours | {"exec": 1}) + b".", id="a name more")
    yield pytest.param(b"\x80\x02" + call(f"{evil} or {BUILD}", ours) + b".", id="another call")
    yield pytest.param(b"\x80\x02" + call(BUILD, ours, {"LogMel": 1}) + b".", id="an argument more")
    late = b"cbuiltins\neval\n(" + pickle.dumps(BUILD, 2)[2:-1] + pickle.dumps({"parameters": {}}, 2)[2:-1]
    late += b"q\x63" + pickle.dumps("source", 2)[2:-1] + pickle.dumps(evil, 2)[2:-1] + b"stR0"  # called with evil ...
    late += b"h\x63" + pickle.dumps("source", 2)[2:-1] + pickle.dumps(text, 2)[2:-1] + b"s0"  # ... and tidied up
    yield pytest.param(b"\x80\x02" + late + call(BUILD, ours) + b".", id="changed after the call")
    state = pickle.dumps((None, {"arguments": (BUILD, ours)}), 2)[2:-1]
    yield pytest.param(b"\x80\x02" + call(evil) + state + b"b.", id="another state")
    yield pytest.param(pickle.dumps(Mark(mark)), id="nothing of ours")
    yield pytest.param(b"\x80\x02" + call(BUILD, ours | {"parameters": {"n_mels": 10**9}}) + b".", id="too large")
    yield pytest.param(b"", id="empty")


@pytest.mark.parametrize("content", list(forged(Path("/tmp/mark of test_trust"))))
def test_what_looks_like_our_extractor_is_foreign_code(content: bytes) -> None:
    """Only the very text, called once with plain numbers within bounds; to find that out runs nothing."""
    assert not is_own_extractor(content)
    assert not Path("/tmp/mark of test_trust").exists()


def test_a_trusted_signature_is_acceptance(elsewhere: Path, keys: Path, tmp_path: Path) -> None:
    """A bundle signed by a trusted key needs no person, as long as the key is asked for."""
    run_ssh_keygen("-Y", "sign", "-n", "sonyc-ml-bundle", "-f", keys / "ours", elsewhere.with_suffix(".json"))
    trusted_keys = Path(shutil.copy(keys / "ours.pub", tmp_path / "trusted_keys"))
    assert SENTENCE in refusal(elsewhere)
    load_model(elsewhere, trusted_keys=trusted_keys)


def test_what_ran_under_the_last_version_goes_on(elsewhere: Path, state: Path) -> None:
    """A bundle whose golden vector was right here before is accepted, and stays so when that is forgotten."""
    state.mkdir(parents=True)
    key = f"{sha256(elsewhere.with_suffix('.json'))} ai-edge-litert 2.0 XNNPACK numpy 2.0"
    (state / "bundles.json").write_text(json.dumps({"versions": {}, "golden": {key: "passed"}}))
    load_model(elsewhere)
    (state / "bundles.json").unlink()
    assert load_model(elsewhere).bundle.accepted


def test_another_bundles_golden_check_accepts_nothing(elsewhere: Path, state: Path) -> None:
    """What ran here before is one manifest, byte for byte."""
    state.mkdir(parents=True)
    (state / "bundles.json").write_text(json.dumps({"versions": {"c": "1.0.0"}, "golden": {f"{'0' * 64} a": "passed"}}))
    assert SENTENCE in refusal(elsewhere)


# --- where it is remembered -------------------------------------------------------------------------------------------


def test_roots_record_counts_for_everybody(elsewhere: Path, tmp_path: Path) -> None:
    """What root has accepted for the machine holds for users and services that have no record of their own."""
    record = tmp_path / "etc" / "trusted"
    record.parent.mkdir()
    record.write_text(f"# by the operator\n\n{sha256(elsewhere.with_suffix('.pkl'))}  c.pkl\n")
    state = MachineState(system_record=record)
    assert read_bundle(elsewhere, state=state).accepted == {sha256(elsewhere.with_suffix(".pkl"))}
    assert not read_bundle(elsewhere, state=MachineState()).accepted


def test_a_service_sees_what_its_user_accepted(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sudo -u USER sonyc-ml bundle trust` counts for the service of that user, whose state is elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / ".local" / "state"))
    trust(elsewhere)
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "service"))
    load_model(elsewhere, golden="never")
    monkeypatch.setenv("HOME", str(tmp_path / "another home"))
    assert "if you trust who made it: sudo sonyc-ml bundle trust" in refusal(elsewhere)


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_record_that_others_can_write_accepts_nothing(
    elsewhere: Path, state: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else's word is none, and that is said."""
    trust(elsewhere)
    (state / "trusted").chmod(mode)
    assert SENTENCE in refusal(elsewhere)
    assert "what it accepts does not count" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_record_of_somebody_elses_accepts_nothing(elsewhere: Path, state: Path) -> None:
    """Nor is a record, or the memory of golden vectors, that belongs to another user."""
    trust(elsewhere)
    load_model(elsewhere)
    for file in state.iterdir():
        os.chown(file, 12345, 12345)
    assert SENTENCE in refusal(elsewhere)


def test_a_record_that_is_a_pipe_is_not_waited_for(elsewhere: Path, state: Path) -> None:
    """Nothing but a file is read."""
    state.mkdir(parents=True)
    os.mkfifo(state / "trusted")
    assert SENTENCE in refusal(elsewhere)


def test_a_record_cut_by_an_editor_is_continued(elsewhere: Path, state: Path) -> None:
    """A last line without its end stays a line of its own; a name cannot add one."""
    state.mkdir(parents=True)
    (state / "trusted").write_text("0" * 64)
    MachineState().accept("1" * 64, f"a\n{'2' * 64}")
    assert MachineState().accepted() >= {"0" * 64, "1" * 64}
    assert "2" * 64 not in MachineState().accepted()
    before = (state / "trusted").read_bytes()
    MachineState().accept("1" * 64, "again")
    assert (state / "trusted").read_bytes() == before


def test_what_cannot_be_written_down_is_said(elsewhere: Path, state: Path) -> None:
    """Trust that would be forgotten at once is an error."""
    state.parent.mkdir()
    state.write_text("in the way")
    with pytest.raises(StoreError, match="trusted cannot be written"):
        trust(elsewhere)


# --- workers ----------------------------------------------------------------------------------------------------------


def test_workers_inherit_what_was_accepted(elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker on another machine, which remembers nothing, runs what was accepted where the batch began, no more."""
    trust(elsewhere)
    job = Job(str(elsewhere))
    job = pickle.loads(pickle.dumps(job.for_workers(job.load_model())))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state of a worker"))
    job.load_model(golden="never")
    export_function(elsewhere, 3)
    list_files(elsewhere)
    with pytest.raises(BundleIntegrityError, match="nobody has accepted"):
        job.load_model(golden="never")


# --- owners -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_files_of_a_named_user_are_taken(elsewhere: Path) -> None:
    """In a laboratory's shared folder, another user's bundle is read where that user was named, and nobody else's."""
    trust(elsewhere)
    for path in (elsewhere.parent, *elsewhere.parent.iterdir()):
        os.chown(path, 12345, -1)
    assert "belongs to user 12345" in refusal(elsewhere)
    assert "--trust-owner 12345" in refusal(elsewhere, trust_owners=["54321"])
    load_model(elsewhere, trust_owners=["nobody", "12345"])
    result = sonyc_ml("bundle", "verify", elsewhere, "--trust-owner", "12345", "--trust-owner=nobody")
    assert (result.returncode, result.stderr) == (0, "")
    os.chown(elsewhere, 54321, -1)
    assert "belongs to user 54321" in refusal(elsewhere, trust_owners=["12345"])


def test_an_owner_is_a_user_of_this_machine(elsewhere: Path, tmp_path: Path) -> None:
    """A name that is none is refused by the setting's name."""
    with pytest.raises(ValueError, match="there is no user 'no-such-user' here"):
        load_model(elsewhere, trust_owners=["no-such-user"])
    result = sonyc_ml("bundle", "verify", elsewhere, "--trust-owner", "no-such-user")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    config = configure(tmp_path, more=f'[model]\npath = "{elsewhere}"\ntrust_owners = ["nobody", "0"]\n')
    assert config.model[0].parameters()["trust_owners"] == ("nobody", "0")


def test_a_named_owner_does_not_open_folders(elsewhere: Path) -> None:
    """What anybody can write stays refused, whoever it belongs to."""
    elsewhere.chmod(0o666)
    with pytest.raises(BundleIntegrityError, match="can be written by others"):
        read_guarded(elsewhere, frozenset({12345}))


# --- what is not a file, what does not fit --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tflite", "a.pkl", "a.json"])
def test_a_pipe_is_not_waited_for(foreign: Path, name: str) -> None:
    """A pipe in the place of any file, also of a network that lies alone, is refused at once."""
    for path in foreign.parent.glob("a.*") if name == "a.tflite" else [foreign.with_name(name)]:
        path.unlink()
    os.mkfifo(foreign.with_name(name))
    for command in (("info",), ("bundle", "make"), ("bundle", "trust"), ("bundle", "info")):
        result = sonyc_ml(*command, foreign)
        assert result.returncode == 2 or (name, *command) in {("a.pkl", "bundle", "info"), ("a.json", "bundle", "make")}
        assert len(result.stderr.splitlines()) == (result.returncode == 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": 16000}, "sample_rate is 16000 Hz there and 8000 Hz in the extractor"),
        ({"hop_size_s": 0.5}, "hop_size_s is 0.5 s there and 0.1 s in the extractor"),
        ({"window_size_s": 2.0}, "window_size_s is 2 s there and 1 s in the extractor"),
    ],
)
def test_a_manifest_of_another_extractor_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """What a manifest says of the windows is what the extractor cuts, or nobody could rely on either."""
    network = tmp_path / "a.tflite"
    network.write_bytes(networks.dense((1, 64, 51, 1)))
    make_bundle(network, input_kind="log_mel")
    manifest = json.loads(network.with_suffix(".json").read_text())
    network.with_suffix(".json").write_text(json.dumps(manifest | changes))
    with pytest.raises(BundleMismatchError, match=re.escape(message)):
        load_model(network)


# --- info -------------------------------------------------------------------------------------------------------------


def test_info_shows_code_without_running_it(attack: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`info` says what code there is and that nobody has accepted it, and neither unpickles nor imports."""
    monkeypatch.delitem(sys.modules, "foreign_module", raising=False)  # another test's
    described = describe(attack)
    assert described["code"] == [{"what": next(iter(read_bundle(attack).code.values())), "accepted": False}]
    assert f"is not accepted here; to accept it: sonyc-ml bundle trust {attack}" in render(described)
    trust(attack)
    assert describe(attack)["code"][0]["accepted"]
    assert not mark.exists()
    importlib.invalidate_caches()
