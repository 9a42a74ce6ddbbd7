"""Attacks on a bundle: each is refused, and what was planted is not run."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import pickle
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.bundles.bundle import load_extractor, read_bundle
from sonyc_ml.bundles.integrity import MAX_FILE_SIZE, NAMESPACE, make_signature, read_guarded
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.bundles.sections import Golden, Head, Input
from sonyc_ml.errors import BundleError, BundleIntegrityError, BundleMismatchError, MissingBundleError
from sonyc_ml.model import AudioModel
from sonyc_ml.model.loading import load_model
from tests.conftest import write_recording
from tests.support import networks
from tests.support.command import run_ssh_keygen, sonyc_ml

NOBODY = 65534
FILES = ("a.tflite", "a.pkl", "a.golden.npz", "head of a.tflite")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@dataclass(frozen=True)
class Mark:
    """Unpickled, it leaves a file."""

    path: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return (pathlib.Path.touch, (self.path,))


@dataclass(frozen=True)
class Planted:
    """A bundle in every respect as it should be, whose extractor leaves a mark as soon as it is unpickled."""

    path: Path
    mark: Path
    trusted_keys: Path

    @property
    def folder(self) -> Path:
        return self.path.parent

    def file(self, name: str) -> Path:
        return self.folder / name

    def manifest(self) -> Manifest:
        return parse_manifest(self.file("a.json").read_bytes(), "a.json")

    def vouch(self, **changes: Any) -> None:
        """Write the digests of the files as they are now, and whatever else is to change."""
        files = {name: hashlib.sha256(self.file(name).read_bytes()).hexdigest() for name in FILES}
        self.file("a.json").write_text(replace(self.manifest(), **({"files": files} | changes)).text())

    def sign(self, key: Path, namespace: str = NAMESPACE) -> None:
        """Sign the manifest as it is now."""
        signature = self.file("a.json.sig")
        signature.unlink(missing_ok=True)
        run_ssh_keygen("-Y", "sign", "-n", namespace, "-f", key, self.file("a.json"))

    def refusal(self, kind: type[BundleError] = BundleIntegrityError, **keywords: Any) -> str:
        """Why the bundle is not loaded; nothing in it may have been run."""
        with pytest.raises(BundleError) as caught:
            load_model(self.path, **keywords)
        assert not self.mark.exists()
        assert type(caught.value) is kind
        return str(caught.value)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """The bundle, unsigned."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "above" / "models"
    folder.mkdir(parents=True)
    bundle = Planted(folder / "a.tflite", tmp_path / "mark", tmp_path / "trusted_keys")
    bundle.path.write_bytes(networks.dense((1, 64, 51, 1), 6))
    bundle.file("a.pkl").write_bytes(pickle.dumps(Mark(bundle.mark)))
    bundle.file("head of a.tflite").write_bytes(networks.dense((1, 6), 2))
    np.savez(bundle.file("a.golden.npz"), y=np.zeros(8000, np.float32))
    bundle.file("a.json").write_text(
        Manifest(
            *(1, "a", "1.0.0", 8000, 1.0, 0.1, Input("pickled")),
            files=dict.fromkeys(FILES, "0" * 64),
            head=Head("head of a.tflite"),
            golden=Golden("a.golden.npz"),
        ).text()
    )
    bundle.vouch()
    # Accepted as it is now: it is the attacks that are refused.
    MachineState().accept(hashlib.sha256(bundle.file("a.pkl").read_bytes()).hexdigest(), "a.pkl")
    return bundle


@pytest.fixture
def signed(planted: Planted, keys: Path) -> Planted:
    """The same bundle, signed by us, and our public key among those that are trusted."""
    planted.sign(keys / "ours")
    shutil.copy(keys / "ours.pub", planted.trusted_keys)
    return planted


@pytest.fixture
def sound(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that loads, in a folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = Path(shutil.copytree(tiny_bundle.parent, tmp_path / "models"))
    return folder / tiny_bundle.name


def chmod(path: Path, more: int) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) | more)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def link_out(path: Path) -> None:
    """Move a file out of its folder, and leave a link to it."""
    path.symlink_to(path.rename(path.parents[2] / "elsewhere"))


# --- the plant itself -------------------------------------------------------------------------------------------------


def test_what_is_planted_would_leave_a_mark(planted: Planted) -> None:
    """Vouched for, the extractor is unpickled, and leaves its mark: its absence below means something."""
    with pytest.raises(BundleMismatchError, match="holds a NoneType, not a function"):
        load_model(planted.path)
    assert planted.mark.exists()


def test_what_is_signed_would_leave_a_mark(signed: Planted) -> None:
    """Signed by a trusted key, it is unpickled as well."""
    with pytest.raises(BundleMismatchError, match="holds a NoneType, not a function"):
        load_model(signed.path, trusted_keys=signed.trusted_keys)
    assert signed.mark.exists()


# --- digests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused(planted: Planted, name: str) -> None:
    """A bit flipped in any file is refused by the file's name, with what to do."""
    flip(planted.file(name))
    message = planted.refusal()
    assert f"{planted.file(name)} is not the file that the manifest lists" in message
    assert f"sonyc-ml bundle trust {planted.path}" in message


@pytest.mark.parametrize("name", FILES)
def test_another_bundles_file_is_refused(planted: Planted, sound: Path, name: str) -> None:
    """A file of another bundle, sound in itself, is not the one that was vouched for."""
    other = {"a.pkl": sound.with_suffix(".pkl"), "a.golden.npz": sound.with_suffix(".golden.npz")}
    shutil.copy(other.get(name, sound), planted.file(name))
    assert f"{planted.file(name)} is not the file" in planted.refusal()


@pytest.mark.parametrize("size", [0, 10])
def test_a_truncated_file_is_refused(planted: Planted, size: int) -> None:
    """What an interrupted copy leaves is refused."""
    os.truncate(planted.file("a.pkl"), size)
    assert "is not the file that the manifest lists" in planted.refusal()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(planted: Planted, name: str) -> None:
    """A file that is not there cannot be read, which is said by its name."""
    planted.file(name).unlink()
    assert planted.refusal(MissingBundleError) == f"{planted.file(name)}: No such file or directory"


def test_a_pickle_without_a_manifest_is_refused(planted: Planted) -> None:
    """A bare .pkl is refused with the one command that would trust it."""
    planted.file("a.json").unlink()
    message = planted.refusal()
    assert f"{planted.file('a.pkl')} would be run, and no manifest lists it" in message
    assert message.endswith(f"sonyc-ml bundle trust {planted.path}")


def test_the_command_that_trusts_can_be_pasted(planted: Planted) -> None:
    """The command that a refusal gives quotes a path with spaces."""
    folder = planted.folder.rename(planted.folder.with_name("my models"))
    (folder / "a.json").unlink()
    message = replace(planted, path=folder / "a.tflite").refusal()
    assert message.endswith(f"sonyc-ml bundle trust '{folder / 'a.tflite'}'")


def test_a_pickle_that_is_not_listed_is_refused(planted: Planted) -> None:
    """A manifest of a pickled bundle that does not list the .pkl vouches for nothing."""
    files = {name: digest for name, digest in planted.manifest().files.items() if name != "a.pkl"}
    planted.vouch(files=files)
    assert "does not list a.pkl among its files; if you trust it: sonyc-ml bundle trust" in planted.refusal()


def test_a_stray_pickle_is_not_run(planted: Planted) -> None:
    """A .pkl beside a bundle that needs none is left alone, and refused where it is asked for."""
    files = {name: digest for name, digest in planted.manifest().files.items() if name != "a.pkl"}
    planted.vouch(files=files, input=Input("log_mel"), golden=None)
    assert type(load_model(planted.path)).__name__ == "SpecModel"
    assert f"no manifest lists {planted.file('a.pkl')}" in planted.refusal(input_kind="pickled")


def test_a_network_that_is_not_listed_is_refused(planted: Planted) -> None:
    """A manifest that was put beside another network does not list it."""
    for suffix in (".tflite", ".json"):
        shutil.copy(planted.path.with_suffix(suffix), planted.file(f"b{suffix}"))
    message = replace(planted, path=planted.file("b.tflite")).refusal()
    assert "b.json does not list b.tflite among its files" in message


def test_a_manifest_that_is_damaged_is_refused(planted: Planted) -> None:
    """A manifest that cannot be read says so, and nothing is loaded without it."""
    os.truncate(planted.file("a.json"), 50)
    assert "a.json is not JSON" in planted.refusal(BundleError)


# --- owners and modes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [stat.S_IWGRP, stat.S_IWOTH], ids=["group", "world"])
@pytest.mark.parametrize("name", [*FILES, "a.json"])
def test_a_file_that_others_can_write_is_refused(planted: Planted, name: str, mode: int) -> None:
    """A file that the group or the world can write is refused, with the command that mends it."""
    chmod(planted.file(name), mode)
    message = planted.refusal()
    assert f"{planted.file(name)} can be written by others" in message
    assert message.endswith(f"chmod go-w {planted.folder}/*")


@pytest.mark.parametrize("mode", [stat.S_IWGRP, stat.S_IWOTH], ids=["group", "world"])
@pytest.mark.parametrize("up", [0, 1], ids=["folder", "folder above"])
def test_a_folder_that_others_can_write_is_refused(planted: Planted, up: int, mode: int) -> None:
    """Who can write to a folder can swap what is in it: the bundle's own, and every one above."""
    folder = planted.path.parents[up]
    chmod(folder, mode)
    assert planted.refusal() == f"the folder {folder} can be written by others: chmod go-w {folder}"


def test_all_folders_are_mended_by_one_command(planted: Planted) -> None:
    """A check-out under umask 002 costs one command for its folders, not one for each."""
    above, folder = planted.folder.parent, planted.folder
    for loose in (above, folder):
        chmod(loose, stat.S_IWGRP)
    assert planted.refusal().endswith(f"chmod go-w {above} {folder}")


def test_the_commands_of_the_refusals_mend_a_check_out(sound: Path) -> None:
    """Who does what the refusals say about a check-out under umask 002 is done after two commands."""
    for path in (sound.parent, *sound.parent.iterdir()):
        chmod(path, stat.S_IWGRP)
    for _ in range(2):
        with pytest.raises(BundleIntegrityError) as caught:
            load_model(sound)
        subprocess.run(str(caught.value).partition("others")[2].partition(": ")[2], shell=True, check=True, timeout=60)
    load_model(sound)


def test_a_sticky_folder_above_is_fine(planted: Planted) -> None:
    """In a folder such as /tmp others can write, and cannot touch what is ours."""
    planted.folder.parent.chmod(0o1777)
    assert read_bundle(planted.path).name == "a"


@as_root
@pytest.mark.parametrize("name", [*FILES, "a.json"])
def test_a_file_of_somebody_elses_is_refused(planted: Planted, name: str) -> None:
    """A file that belongs to neither root nor the user who runs this is refused, with what to do."""
    os.chown(planted.file(name), NOBODY, NOBODY)
    message = planted.refusal()
    assert message.startswith(f"{planted.file(name)} belongs to user {NOBODY}, neither to root nor to user 0")
    assert f"run it as user {NOBODY}, or copy the bundle to a folder of root's" in message


@as_root
@pytest.mark.parametrize("up", [0, 1], ids=["folder", "folder above"])
def test_a_folder_of_somebody_elses_is_refused(planted: Planted, up: int) -> None:
    """The owner of a folder can swap what is in it, whoever's that is."""
    os.chown(planted.path.parents[up], NOBODY, NOBODY)
    assert f"{planted.path.parents[up]} belongs to user {NOBODY}" in planted.refusal()


@as_root
def test_roots_files_are_read_by_others() -> None:
    """Another user reads what is root's, and is told what he may not read."""
    os.seteuid(NOBODY)
    try:
        assert read_guarded(Path("/etc/passwd"))
        with pytest.raises(BundleError, match=r"/etc/shadow: Permission denied"):
            read_guarded(Path("/etc/shadow"))
    finally:
        os.seteuid(0)


def test_a_read_only_bundle_is_fine(sound: Path) -> None:
    """A bundle that nobody can write to any more is as good as any."""
    for path in (*sound.parent.iterdir(), sound.parent):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    try:
        assert load_model(sound).bundle.path == sound
    finally:
        sound.parent.chmod(0o755)


# --- what is no plain file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FILES, "a.json"])
def test_a_link_out_of_the_folder_is_refused(planted: Planted, tmp_path: Path, name: str) -> None:
    """A symbolic link out of the folder is refused, though what it leads to has the right digest."""
    link_out(planted.file(name))
    message = planted.refusal()
    assert f"{planted.file(name)} is a symbolic link out of its folder, to {tmp_path / 'elsewhere'}" in message


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny.pkl", "tiny.json"])
def test_a_link_inside_the_folder_is_fine(sound: Path, name: str) -> None:
    """A symbolic link to a file beside it is as good as the file."""
    path = sound.with_name(name)
    path.rename(path.with_name("the file itself"))
    path.symlink_to("the file itself")
    assert load_model(sound).bundle.path == sound


def test_a_folder_may_be_a_link(sound: Path) -> None:
    """`current` may lead to the folder of the version that is to run."""
    current = sound.parent.with_name("current")
    current.symlink_to(sound.parent.name)
    assert load_model(current / sound.name).bundle.sha256 == load_model(sound).bundle.sha256


def test_a_link_that_others_can_turn_is_refused(planted: Planted, tmp_path: Path) -> None:
    """A folder where others can write may not hold the link that leads to the bundle."""
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "models").symlink_to(planted.folder)
    loose.chmod(0o777)
    message = replace(planted, path=loose / "models" / "a.tflite").refusal()
    assert message == f"the folder {loose} can be written by others: chmod go-w {loose}"


def test_a_way_through_a_loose_folder_is_refused(planted: Planted, tmp_path: Path) -> None:
    """A link that ends in its own folder, but leads there by way of one where others can write, is refused."""
    loose = tmp_path / "loose"
    loose.mkdir()
    pkl = planted.file("a.pkl").rename(planted.file("b.pkl"))
    (loose / "link").symlink_to(pkl)
    planted.file("a.pkl").symlink_to(loose / "link")
    loose.chmod(0o777)
    assert planted.refusal() == f"the folder {loose} can be written by others: chmod go-w {loose}"


@as_root
def test_a_link_of_somebody_elses_is_refused(planted: Planted, tmp_path: Path) -> None:
    """In a sticky folder anybody can put a link: one of somebody else's is not followed."""
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    (sticky / "models").symlink_to(planted.folder)
    os.chown(sticky / "models", NOBODY, NOBODY, follow_symlinks=False)
    message = replace(planted, path=sticky / "models" / "a.tflite").refusal()
    assert message.startswith(f"{sticky / 'models'} belongs to user {NOBODY}")


@pytest.mark.parametrize("name", ["a.pkl", "a.json"])
@pytest.mark.parametrize("leads_to_itself", [True, False])
def test_a_link_to_nothing_is_refused(planted: Planted, name: str, leads_to_itself: bool) -> None:
    """A link to itself or to nothing cannot be read, and is no way round the manifest."""
    planted.file(name).unlink()
    planted.file(name).symlink_to(name if leads_to_itself else "nothing")
    assert str(planted.file(name)) in planted.refusal(BundleError if leads_to_itself else MissingBundleError)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["FIFO", "folder"])
@pytest.mark.parametrize("name", [*FILES, "a.json"])
def test_what_is_no_file_is_refused(planted: Planted, name: str, make: Callable[[Path], None]) -> None:
    """A FIFO does not hold the node up, and a folder is not taken for a file."""
    planted.file(name).unlink()
    make(planted.file(name))
    assert planted.refusal() == f"{planted.file(name)} is not a file"


def test_a_huge_file_is_not_read(planted: Planted) -> None:
    """A file that would fill the memory is refused by its size."""
    os.truncate(planted.file("a.pkl"), MAX_FILE_SIZE + 1)
    assert "a.pkl has 1,073,741,825 bytes, which no model of a node has" in planted.refusal()


def test_a_file_whose_size_lies_is_refused() -> None:
    """What says that it is empty, and is not, is no file of a bundle."""
    with pytest.raises(BundleIntegrityError, match="was written to while it was read"):
        read_guarded(Path("/proc/sys/kernel/ostype"))


# --- signatures -------------------------------------------------------------------------------------------------------


def test_no_signature_is_refused(signed: Planted) -> None:
    """Where keys are trusted, a bundle without a signature is refused, with the command that signs."""
    signed.file("a.json.sig").unlink()
    message = signed.refusal(trusted_keys=signed.trusted_keys)
    assert f"{signed.file('a.json')} is not signed, and only signed bundles are trusted here" in message
    assert "sonyc-ml bundle sign" in message


def test_no_manifest_is_refused_where_keys_are_trusted(signed: Planted) -> None:
    """Without its manifest, not even the network is trusted."""
    for name in ("a.json", "a.json.sig", "a.pkl"):
        signed.file(name).unlink()
        message = signed.refusal(trusted_keys=signed.trusted_keys)
    assert "a.tflite has no manifest, and only signed bundles are trusted here" in message


def tamper_with_manifest(bundle: Planted, keys: Path) -> None:
    flip(bundle.file("a.pkl"))
    bundle.vouch()


def sign_by_another(bundle: Planted, keys: Path) -> None:
    bundle.sign(keys / "theirs")


def sign_for_another_purpose(bundle: Planted, keys: Path) -> None:
    bundle.sign(keys / "ours", namespace="other")


def sign_another_manifest(bundle: Planted, keys: Path) -> None:
    bundle.vouch(version="1.0.1")
    bundle.sign(keys / "ours")
    bundle.vouch(version="1.0.0")


def flip_signature(bundle: Planted, keys: Path) -> None:
    flip(bundle.file("a.json.sig"))


def empty_signature(bundle: Planted, keys: Path) -> None:
    bundle.file("a.json.sig").write_bytes(b"")


def flip_manifest(bundle: Planted, keys: Path) -> None:
    text = bundle.file("a.json").read_text()
    bundle.file("a.json").write_text(text + "\n")


@pytest.mark.parametrize(
    "attack",
    [
        tamper_with_manifest,
        sign_by_another,
        sign_for_another_purpose,
        sign_another_manifest,
        flip_signature,
        empty_signature,
        flip_manifest,
    ],
)
def test_a_signature_that_is_none_is_refused(
    signed: Planted, keys: Path, attack: Callable[[Planted, Path], None]
) -> None:
    """Only our key, over these very bytes, for this very purpose, is a signature."""
    attack(signed, keys)
    message = signed.refusal(trusted_keys=signed.trusted_keys)
    assert "a.json.sig is no signature over a.json by a key of" in message
    assert "the manifest was changed after it was signed, or somebody else signed it" in message


def test_a_signed_bundles_files_are_compared(signed: Planted) -> None:
    """A signature over the manifest does not help a file that is not the manifest's."""
    flip(signed.file("a.pkl"))
    assert "is not the file that the manifest lists" in signed.refusal(trusted_keys=signed.trusted_keys)


def test_a_signed_bundle_is_not_taken_for_another(signed: Planted, keys: Path) -> None:
    """A bundle of ours, signed, does not pass under another's name."""
    for path in list(signed.folder.iterdir()):
        shutil.copy(path, signed.file(path.name.replace("a.", "b.", 1)))
    message = replace(signed, path=signed.file("b.tflite")).refusal(trusted_keys=signed.trusted_keys)
    assert "does not list b.tflite" in message


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["FIFO", "folder"])
def test_a_signature_that_is_no_file_is_refused(signed: Planted, make: Callable[[Path], None]) -> None:
    """A signature is a file as the others are."""
    signed.file("a.json.sig").unlink()
    make(signed.file("a.json.sig"))
    assert "a.json.sig is not a file" in signed.refusal(trusted_keys=signed.trusted_keys)


@pytest.mark.parametrize("which", ["a.json.sig", "trusted_keys"])
def test_a_signature_or_key_that_others_can_write_is_refused(signed: Planted, which: str) -> None:
    """Who can write the keys can write anything."""
    path = signed.trusted_keys if which == "trusted_keys" else signed.file(which)
    chmod(path, stat.S_IWGRP)
    assert f"{path} can be written by others" in signed.refusal(trusted_keys=signed.trusted_keys)


def test_keys_that_are_not_there_trust_nobody(signed: Planted) -> None:
    """A file of keys that is missing is an error, not a file of no restrictions."""
    signed.trusted_keys.unlink()
    message = signed.refusal(MissingBundleError, trusted_keys=signed.trusted_keys)
    assert message == f"{signed.trusted_keys}: No such file or directory"


def key_lines() -> Iterator[Any]:
    """What a file of keys may hold, as a format for our key, and whether it is trusted."""
    for name, text, is_trusted in (
        ("as it is", "{key}", True),
        ("without a comment", "{bare}", True),
        ("of Windows", "# ours\r\n\r\n{key}\r\n", True),
        ("among others", "{theirs}\n\n  # ours\n{key}\n", True),
        ("with odd comments", '{bare} "x" namespaces="other" cert-authority\n', True),
        ("indented", "  {key}\n", True),
        ("empty", "", False),
        ("blank", "\n \n# nobody\n", False),
        ("a comment", "# {key}", False),
        ("rubbish", "rubbish", False),
        ("rubbish beside it", "{key}\nrubbish\n", False),
        ("rubbish before it", "ssh-ed25519 rubbish\n{key}\n", False),
        ("a short key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI\n", False),
        ("binary", "\0\1\2", False),
        ("NUL", "{bare}\0", False),
        ("an authority", "cert-authority {key}", False),
        ("options", 'namespaces="*" {key}', False),
        ("a principal", "sonyc-ml {key}", False),
        ("a hidden authority", "{theirs}\r* cert-authority {key}", False),
        ("a line of its own", "{theirs}\u2028sonyc-ml {key}", False),
        ("two in a line", "{theirs_bare} {bare}", False),
        ("another type", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ", False),
        ("RSA in disguise", "ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAABgQ", False),
    ):
        yield pytest.param(text, is_trusted, id=name)


@pytest.mark.parametrize(("text", "is_trusted"), list(key_lines()))
def test_keys_are_lines(signed: Planted, keys: Path, text: str, is_trusted: bool) -> None:
    """A file of keys holds keys and comments; nothing in it can smuggle in more than a key."""
    ours, theirs = ((keys / f"{name}.pub").read_text().strip() for name in ("ours", "theirs"))
    bare, theirs_bare = ours.rsplit(" ", 4)[0], theirs.rsplit(" ", 4)[0]
    content = text.format(key=ours, bare=bare, theirs=theirs, theirs_bare=theirs_bare)
    signed.trusted_keys.write_bytes(content.encode())
    if is_trusted:
        assert read_bundle(signed.path, trusted_keys=signed.trusted_keys).name == "a"
    else:
        assert str(signed.trusted_keys) in signed.refusal(trusted_keys=signed.trusted_keys)


def test_names_with_spaces_and_dashes_are_signed_and_verified(sound: Path, keys: Path) -> None:
    """Names that a program could take for flags are names."""
    folder = sound.parent.rename(sound.parent.with_name("-f my models"))
    manifest = make_signature(folder / "tiny.json", keys / "ours").with_suffix("")
    assert manifest == folder / "tiny.json"
    shutil.copy(keys / "ours.pub", folder / "-n keys")
    shutil.copy(keys / "ours", folder / "-key")
    assert read_bundle(folder / "tiny.tflite", trusted_keys=folder / "-n keys").name == "tiny"
    signing = sonyc_ml("bundle", "sign", folder / "tiny.tflite", "--key=-key", cwd=folder)
    assert (signing.returncode, signing.stderr) == (0, "")


# --- replay -----------------------------------------------------------------------------------------------------------


def sign_version(path: Path, version: str, keys: Path) -> Path:
    """Give a bundle a version, and sign it; return the file of trusted keys."""
    manifest = path.with_suffix(".json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": version}))
    make_signature(manifest, keys / "ours")
    return Path(shutil.copy(keys / "ours.pub", path.parent / "trusted_keys"))


def test_an_older_version_is_refused_after_a_newer_one(sound: Path, planted: Planted, keys: Path) -> None:
    """Signed once is not trusted for ever: what is older than what ran here is not run, the same and newer are."""
    for version in ("1.9.0", "1.10.0", "1.10.0", "1.10.1"):
        load_model(sound, trusted_keys=sign_version(sound, version, keys))
    planted.vouch(name="tiny", version="1.9.9")
    trusted_keys = sign_version(planted.path, "1.9.9", keys)
    message = planted.refusal(trusted_keys=trusted_keys)
    assert message.startswith("tiny 1.9.9 is older than 1.10.1, which ran here before: ")
    assert message.endswith("sign it again under a newer version")


def test_an_older_version_may_run_where_no_keys_are_trusted(sound: Path, keys: Path) -> None:
    """Without trusted keys, versions are the operator's own business."""
    load_model(sound, trusted_keys=sign_version(sound, "2.0.0", keys))
    sign_version(sound, "1.0.0", keys)
    manifest = load_model(sound).bundle.manifest
    assert manifest is not None
    assert manifest.version == "1.0.0"


def test_a_version_that_does_not_run_is_not_remembered(sound: Path, keys: Path) -> None:
    """A newer version that fails on this machine does not keep it from going back to the one that ran."""
    load_model(sound, trusted_keys=sign_version(sound, "1.0.0", keys))
    manifest = sound.with_suffix(".json")
    content = manifest.read_bytes()
    manifest.write_text(json.dumps(json.loads(content) | {"labels": ["too", "many"]}))
    with pytest.raises(BundleMismatchError):
        load_model(sound, trusted_keys=sign_version(sound, "2.0.0", keys))
    manifest.write_bytes(content)
    load_model(sound, trusted_keys=sign_version(sound, "1.0.0", keys))


def test_a_forged_version_is_not_remembered(sound: Path, keys: Path) -> None:
    """What is refused leaves nothing behind that could shut out the real one."""
    trusted_keys = sign_version(sound, "1.0.0", keys)
    manifest = sound.with_suffix(".json")
    manifest.write_text(manifest.read_text().replace("1.0.0", "9.0.0"))
    with pytest.raises(BundleIntegrityError):
        load_model(sound, trusted_keys=trusted_keys)
    assert MachineState().newest_version("tiny") == ()


@pytest.mark.parametrize("version", [5, None, "", "1", "one.two.three", [1, 0, 0], "9" * 99 + ".0.0"], ids=str)
def test_a_damaged_memory_of_versions_is_no_error(sound: Path, keys: Path, version: Any) -> None:
    """What cannot have been a version is forgotten, and the next one remembered."""
    load_model(sound)
    state = Path(os.environ["XDG_STATE_HOME"]) / "sonyc-ml" / "bundles.json"
    state.write_text(json.dumps({"versions": {"tiny": version}}))
    load_model(sound, trusted_keys=sign_version(sound, "1.0.0", keys))
    assert MachineState().newest_version("tiny") == (1, 0, 0)


def test_a_version_that_cannot_be_remembered_is_said(
    sound: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing can be remembered, a signed bundle runs, and the log says what is not protected."""
    monkeypatch.setenv("XDG_STATE_HOME", str(sound))  # a file: not even root makes a folder in it
    load_model(sound, trusted_keys=sign_version(sound, "1.0.0", keys))
    assert "an older signed version of tiny would not be refused" in caplog.text


# --- signing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("nothing", "cannot be signed with .*nothing: .*No such file"),
        ("ours.txt", "cannot be signed with"),
        ("rsa", "rsa is not an Ed25519 key, and no other is trusted: ssh-keygen -t ed25519 makes one"),
    ],
)
def test_what_cannot_sign_says_so(planted: Planted, keys: Path, key: str, message: str) -> None:
    """A key that is missing, no key, or of another type is refused while signing, not on the node."""
    (keys / "ours.txt").write_text("no key")
    (keys / "ours.txt").chmod(0o600)
    with pytest.raises(BundleError, match=message):
        make_signature(planted.file("a.json"), keys / key)
    assert not planted.file("a.json.sig").exists()


def test_what_is_not_there_cannot_be_signed(tmp_path: Path, keys: Path) -> None:
    """Without a manifest there is nothing to sign."""
    with pytest.raises(BundleError, match=r"a\.json: No such file or directory"):
        make_signature(tmp_path / "a.json", keys / "ours")


def test_signatures_need_ssh_keygen(signed: Planted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where ssh-keygen is not installed, nothing passes for signed, and what to install is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    message = signed.refusal(BundleError, trusted_keys=signed.trusted_keys)
    assert "signatures need ssh-keygen" in message
    assert "apt-get install openssh-client" in message


# --- what was compared is what runs -----------------------------------------------------------------------------------


def test_what_was_compared_is_what_runs(sound: Path, planted: Planted) -> None:
    """Files that are replaced after they were read change nothing: no byte is read a second time."""
    bundle = read_bundle(sound)
    expected = load_model(sound).get_embedding(np.full(8000, 0.1, np.float32), 8000)
    for path in sound.parent.iterdir():
        shutil.copy(planted.file("a.pkl"), path)
    model = AudioModel(bundle)
    np.testing.assert_array_equal(model.get_embedding(np.full(8000, 0.1, np.float32), 8000), expected)
    assert callable(load_extractor(bundle))
    assert not planted.mark.exists()


def test_the_digest_in_an_output_is_that_of_the_manifest(sound: Path, tmp_path: Path) -> None:
    """An output names the very manifest that vouched for what made it."""
    output = load_model(sound).embed_file(write_recording(tmp_path / "a.wav"))
    digest = hashlib.sha256(sound.with_suffix(".json").read_bytes()).hexdigest()
    assert output.provenance.bundle_sha256 == digest


# --- as a user meets them ---------------------------------------------------------------------------------------------

ATTACKS: dict[str, Callable[[Planted], object]] = {
    "flipped": lambda bundle: flip(bundle.file("a.pkl")),
    "bare pickle": lambda bundle: bundle.file("a.json").unlink(),
    "group-writable file": lambda bundle: chmod(bundle.file("a.pkl"), stat.S_IWGRP),
    "world-writable folder": lambda bundle: chmod(bundle.folder, stat.S_IWOTH),
    "link out of the folder": lambda bundle: link_out(bundle.file("a.pkl")),
}


@pytest.mark.parametrize("command", ["embed", "info", "bundle verify"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_user_reads_one_sentence(planted: Planted, tmp_path: Path, command: str, attack: str) -> None:
    """Every command refuses with exit status 2 and one sentence; nothing is run, nothing is written."""
    ATTACKS[attack](planted)
    arguments: tuple[object, ...] = (planted.path,)
    if command == "embed":
        arguments = (write_recording(tmp_path / "in" / "a.wav"), "--model", planted.path, "--output", tmp_path / "out")
    assert_refused(sonyc_ml(*command.split(), *arguments), planted)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["embed", "bundle verify"])
def test_a_user_reads_that_a_bundle_is_not_signed(signed: Planted, tmp_path: Path, command: str) -> None:
    """With --trusted_keys, the same goes for what nobody has signed."""
    signed.vouch(version="2.0.0")
    arguments: tuple[object, ...] = (signed.path, "--trusted_keys", signed.trusted_keys)
    if command == "embed":
        recording = write_recording(tmp_path / "in" / "a.wav")
        arguments = (recording, "--output", tmp_path / "out", "--model", *arguments)
    result = sonyc_ml(*command.split(), *arguments)
    assert_refused(result, signed)
    assert "is no signature over a.json" in result.stderr


def assert_refused(result: subprocess.CompletedProcess[str], bundle: Planted) -> None:
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("sonyc-ml: error: ")
    assert len(result.stderr.splitlines()) == 1
    assert not bundle.mark.exists()
