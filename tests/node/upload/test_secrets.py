"""Credentials stand in no log, output, status or error, whatever a store's library says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sonyc_ml.base.stores.hiding import scrubbed
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.upload.config import UploadConfig
from sonyc_ml.node.upload.stores.secrets import read_credentials
from tests.support.stores import SECRETS, StoreHere, s3_store, webdav_store
from tests.support.uploads import UploadingNode, write_outputs


def everything(folder: Path) -> bytes:
    """All that lies in a node's folder, one file after another."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize(
    "to",
    [
        "https://node:hunter2-HIDDEN@example.org/dav",
        "sftp://node:hunter2-HIDDEN@example.org/srv",
        "s3://AKIA:hunter2-HIDDEN@bucket",
        "https://example.org/dav?token=hunter2-HIDDEN",
        "http://example.org/hunter2-HIDDEN",
    ],
)
def test_an_address_with_a_secret_is_refused(to: str) -> None:
    """In a sentence that does not repeat it."""
    with pytest.raises(ValueError, match=r"credentials|https") as refused:
        UploadConfig(to=to)
    assert "HIDDEN" not in str(refused.value)


@pytest.mark.parametrize("kind", ["s3", "webdav"])
def test_what_fails_shows_no_secret(tmp_path: Path, kind: str) -> None:
    """With credentials that are wrong or a server that is away: not in logs, facts, or ledger."""
    with s3_store() if kind == "s3" else webdav_store(tmp_path) as store:
        node = UploadingNode(tmp_path / "node", store, 'pack = "none"')
        wrong = {"SONYC_ML_UPLOAD_PASSWORD": SECRETS["password"] + "x", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
        write_outputs(node.outputs, 1)
        failed = node.run("--once", "--verbose", **wrong)
        assert failed.returncode == 1
        assert "trying again" in failed.stderr
        worked = node.run("--once", "--verbose")
        assert worked.returncode == 0, worked.stderr
    command = [sys.executable, "-m", "sonyc_ml", "status", "--config", str(node.path), "--json"]
    status = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **wrong})
    said = f"{failed.stderr}{failed.stdout}{worked.stderr}{worked.stdout}{status.stdout}{status.stderr}".encode()
    for secret in SECRETS.values():
        assert secret.encode() not in said + everything(node.folder)


def test_an_error_of_a_library_is_scrubbed() -> None:
    """Secrets as they are and as addresses quote them, users in addresses, signatures, headers; one line is left."""
    secrets = (SECRETS["secret"], SECRETS["password"])
    text = (
        f"PUT https://node:pw@host/key?X-Amz-Signature=abc&X-Amz-Credential=def failed with {SECRETS['secret']} "
        f"and horse-HIDDEN%3Abattery%2F1, Authorization: Basic bm9kZTpwdw==, password='{SECRETS['password']}'\nmore"
    )
    clean = scrubbed(text, secrets)
    assert not [word for word in ("HIDDEN", "pw@", "abc", "def", "bm9kZ", "more") if word in clean]
    assert clean.startswith("PUT https://***@host/key?***")


def test_credentials_of_systemd_win(tmp_path: Path) -> None:
    """$CREDENTIALS_DIRECTORY/upload_env over the environment; a line that is none is refused by its number alone."""
    (tmp_path / "upload_env").write_text("# of the node\nAWS_SECRET_ACCESS_KEY = 'from systemd'\n")
    (tmp_path / "upload_key").touch()
    known = read_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path), "AWS_SECRET_ACCESS_KEY": "environment"})
    assert known.get("AWS_SECRET_ACCESS_KEY") == "from systemd"
    assert known.get("SONYC_ML_UPLOAD_KEY_FILE") == str(tmp_path / "upload_key")
    assert "from systemd" not in repr(known)
    (tmp_path / "upload_env").write_text("AWS_SECRET_ACCESS_KEY HIDDEN\n")
    with pytest.raises(ConfigError, match="line 1") as refused:
        read_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "HIDDEN" not in str(refused.value)


def test_a_server_that_nobody_knows_gets_nothing(tmp_path: Path, sftp: StoreHere) -> None:
    """fsspec's own connection would take whoever answers; the sentence says how a key becomes known."""
    node = UploadingNode(tmp_path / "node", sftp, 'pack = "none"')
    write_outputs(node.outputs, 1)
    hosts = Path(sftp.environment["SONYC_ML_UPLOAD_KNOWN_HOSTS"])
    known = hosts.read_text()
    hosts.write_text("")
    failed = node.run("--once")
    assert failed.returncode == 1
    assert "ssh-keyscan" in failed.stderr
    hosts.write_text(f"{known.split()[0]} {(hosts.parent / 'user.pub').read_text()}")
    assert "another key" in node.run("--once").stderr
    assert sftp.objects(hidden=True) == {}
