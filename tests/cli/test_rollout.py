"""``sonyc-ml bundle rollout``, ``pull`` and ``rollback``: what they say, and what they refuse beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml import cli
from sonyc_ml.authoring import make as maker
from sonyc_ml.base.human import seconds_of
from tests.support import networks

pytest.importorskip("fsspec", reason="stores are an extra")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a signature that nobody looks at here: a store's first rollout is signed after all else."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.tflite"
    path.write_bytes(networks.dense((1, 64, 51, 1), 5))
    maker.make_bundle(path, input_kind="log_mel", version="1.0.0")
    path.with_suffix(".json.sig").write_bytes(b"a signature")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty one."""
    (tmp_path / "store" / "tiny").mkdir(parents=True)
    return tmp_path / "store" / "tiny"


class Shell:
    """Runs commands in this process."""

    def __init__(self, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.store, self._capsys = store, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        status = cli.main(["bundle", *map(str, arguments)])
        said = self._capsys.readouterr()
        assert not list(self.store.iterdir())
        return status, said.out, said.err

    def rollout(self, *arguments: object) -> tuple[int, str, str]:
        return self("rollout", *arguments, "--to", self.store.as_uri(), "--key", "no-key", "--dry-run")

    def refused(self, *arguments: object) -> str:
        status, out, err = self.rollout(*arguments)
        assert (status, out) == (2, "")
        return err


@pytest.fixture
def shell(store: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(store, capsys)


def test_what_would_be_signed(shell: Shell, bundle: Path, tmp_path: Path) -> None:
    """In words, with the nodes of a fleet that take it; nothing is signed or written."""
    names = tmp_path / "names"
    names.write_text("pole_1\npole_2\nroof\n")
    status, out, _ = shell.rollout(bundle, "--nodes", "pole_*", "--not-before", "2026-11-21T01:00Z", "--fleet", names)
    assert status == 0
    assert f"would sign: {shell.store.as_uri()}/rollout.json, number 1\n" in out
    assert "takes:   nodes pole_*; the others stay as they are\n" in out
    assert "switch:  2026-11-21T01:00:00+00:00 to any time\n" in out
    assert "of 3 nodes, 2 take it: pole_1, pole_2\n" in out
    _, out, _ = shell.rollout(bundle, "--share", 0, "--fleet", names, "--back")
    assert "takes:   0 of all nodes; the others stay as they are; nodes may go back\n" in out
    assert out.endswith("of 3 nodes, 0 take it\n")


def test_for_programs(shell: Shell, bundle: Path, tmp_path: Path) -> None:
    """The rollout itself, and the nodes of an archive that take it."""
    for name in ("b", "a"):
        (tmp_path / "archive" / f"node={name}").mkdir(parents=True)
    _, out, _ = shell.rollout(bundle, "--json", "--expires", "12h", "--sequence", 7, "--fleet", tmp_path / "archive")
    answer: dict[str, Any] = json.loads(out)
    rollout = answer["rollout"]
    assert (answer["signed"], answer["fleet"], answer["takes"]) == (False, 2, ["a", "b"])
    assert (rollout["sequence"], rollout["target"]["version"]) == (7, "1.0.0")
    assert seconds_of(rollout["expires"]) - seconds_of(rollout["made"]) == 12 * 3600
    assert "fleet" not in json.loads(shell.rollout(bundle, "--json")[1])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--expires", "soon"], "--expires takes how long, as in 12h, 30d or 8w, not 'soon'"),
        (["--expires", "0d"], "--expires must be between nothing and ten years, not 0d"),
        (["--expires", "1e400d"], "--expires must be between nothing and ten years"),
        (["--not-before", "later"], "--not-before: "),
        (["--stop"], "give neither bundle nor --share"),
        (["--share", "1.5"], "share must be from 0 to 1"),
        (["--fleet", "/none"], "is neither a file of names nor an archive with folders node=NAME"),
    ],
)
def test_flags_that_cannot_be(shell: Shell, bundle: Path, tmp_path: Path, flags: list[str], said: str) -> None:
    """Each is told by its name."""
    assert said in shell.refused(bundle, *[str(tmp_path) if flag == "/none" else flag for flag in flags])


def test_what_is_missing(shell: Shell, bundle: Path) -> None:
    """A bundle for the first rollout; an address of a store."""
    assert "there is no rollout in the store yet: name the bundle" in shell.refused()
    status, _, err = shell("rollout", bundle, "--to", "/mnt/store", "--key", "k")
    assert status == 2
    assert "source must be an address such as s3://" in err


@pytest.fixture
def node(tmp_path: Path, store: Path, bundle: Path) -> Path:
    """The configuration of a node that pulls."""
    (tmp_path / "keys").write_text("")
    path = tmp_path / "sonyc-ml.toml"
    path.write_text(
        '[spool]\nfolder = "recordings"\n[output]\nfolder = "out"\n[state]\nfolder = "state"\n'
        f'[model]\npath = "{bundle}"\ntrusted_keys = "keys"\nsource = "{store.as_uri()}"\n'
    )
    return path


def test_a_look_that_finds_nothing(shell: Shell, node: Path) -> None:
    """It is told, in words or for programs, and by the exit status; the next look is the timer's."""
    status, out, _ = shell("pull", "--config", node)
    assert status == 1
    assert out.startswith("tiny: failed: ")
    assert "rollout.json cannot be read: it is not there" in out
    status, out, _ = shell("pull", "--config", node, "--json")
    assert (status, json.loads(out)["state"]) == (1, "failed")


def test_a_look_takes_no_longer_than_it_may(shell: Shell, node: Path) -> None:
    """Nor is there one that takes no time."""
    status, _, err = shell("pull", "--config", node, "--timeout", 0)
    assert (status, "--timeout must be above 0" in err) == (2, True)
    status, _, err = shell("pull", "--config", node, "--timeout", 1e-6)
    assert status == 2
    assert "it took longer than 0 s, and was given up; what runs, runs on" in err


def test_nothing_to_go_back_to(shell: Shell, node: Path) -> None:
    """Whichever bundle is named."""
    status, _, err = shell("rollback", "--config", node)
    assert (status, "keeps no version to go back to" in err) == (2, True)
    status, _, err = shell("rollback", "other", "--config", node)
    assert (status, "say which bundle is rolled back: tiny" in err) == (2, True)
