"""What is ready for Prometheus and Grafana: rules that work, a dashboard of figures that there are, a page in step."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.base.human import iso
from sonyc_ml.base.identity import Identity
from sonyc_ml.bundles.location import PULLED
from sonyc_ml.bundles.rollout.record import REFUSED, changed_record
from sonyc_ml.node.journal.live import Heard, write_heard_until
from sonyc_ml.node.telemetry.collector import Collector
from sonyc_ml.node.telemetry.exposition import render
from sonyc_ml.node.upload.facts import UploadFacts, write_facts
from sonyc_ml.node.upload.status import upload_families
from tests.conftest import ROOT
from tests.support.metrics import PUBLISHED, counted, journal_of, make_config, parse, promtool

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
RULE_TESTS = ROOT / "deploy" / "prometheus" / "alerts_test.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "sonyc-ml.json"
FLEET = ROOT / "deploy" / "grafana" / "sonyc-ml-fleet.json"
BOARDS = pytest.mark.parametrize("path", [DASHBOARD, FLEET], ids=lambda path: path.stem)
PAGE = ROOT / "docs" / "alerts.md"
# Names that are not the daemon's.
FOREIGN = {"up", "node_textfile_mtime_seconds"}


@pytest.fixture
def told(tmp_path: Path) -> dict[str, set[str]]:
    """The labels of each figure that a daemon tells."""
    config = make_config(tmp_path)
    config.output.folder.mkdir()
    counts = counted(PUBLISHED)
    with journal_of(config, counts) as journal:
        journal.add([Identity("a.wav", 1, 1)])
        journal.adopt([])
        write_heard_until(journal, Heard("street", 1.0, 1.0))
        (config.state_folder / PULLED / "street").mkdir(parents=True)
        with changed_record(config.state_folder / PULLED / "street") as record:
            record.says(REFUSED, "its golden vector is wrong here")
            record.looked = record.valid = iso(1.0)
        samples = parse(render(Collector(config.state_folder).families()))
    labels: dict[str, set[str]] = {"sonyc_ml_last_output_timestamp_seconds": set()}  # once one is done
    labels["sonyc_ml_clock_synchronised"] = set()  # where it can be asked
    labels["sonyc_ml_sound_level_db"] = {"quantity", "reference"}  # where they are measured
    write_facts(tmp_path, UploadFacts(last_success_s=1.0))
    labels |= {family.name: set() for family in upload_families(tmp_path, 2.0)}  # where a node uploads
    for name, pairs in samples:
        labels.setdefault(name, set()).update(key for key, _ in pairs)
    return labels


def names(expression: str) -> set[str]:
    """Of the figures in an expression."""
    return set(re.findall(r"\b(sonyc_ml_\w+|node_\w+|up\b)", re.sub(r'"[^"]*"', '""', expression)))


def check_expression(expression: str, told: dict[str, set[str]]) -> None:
    """Each figure is one that there is, and each label one that it has."""
    assert names(expression), expression
    for name in names(expression) - FOREIGN:
        assert name in told, f"nobody tells {name}"
        for selector in re.findall(rf"{name}\{{([^}}]*)\}}", expression):
            labels = set(re.findall(r'(\w+)[=!]~?"', selector)) - {"instance", "job"}
            assert labels <= told[name], f"{name} has no {labels - told[name]}"


def rules() -> dict[str, str]:
    """Each alert's text, by its name."""
    parts = re.split(r"^      - alert: ", RULES.read_text(), flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0]: part for part in parts}


def test_every_alert_is_complete_and_of_figures_that_there_are(told: dict[str, set[str]]) -> None:
    """A summary, a description, a severity, its paragraph of docs/alerts.md, and nothing that nobody tells."""
    assert len(rules()) >= 10
    for name, text in rules().items():
        expression = re.search(r"expr: (?:>-\n)?(.*?)\n        (?:for|labels):", text, re.DOTALL)
        assert expression, name
        check_expression(expression[1], told)
        for key in ("summary", "description"):
            assert re.search(rf'^          {key}: ".*\{{\{{ \$labels.instance \}}\}}.*"$', text, re.MULTILINE), (
                name,
                key,
            )
        assert re.search(r"labels: \{severity: (critical|warning|info)\}", text), name
        assert f"runbook: docs/alerts.md#{name.lower()}\n" in text


def test_the_page_tells_of_each_alert() -> None:
    """docs/alerts.md has a paragraph for every rule, in their order, and for nothing else."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    titles = [section.split("\n", 1)[0] for section in sections]
    assert titles == ["Many nodes", *rules()]
    assert all(len(section.split()) > 20 for section in sections)


def test_every_alert_is_tried() -> None:
    """alerts_test.yml has each of them silent before its time, and speaking after it."""
    text, names = RULE_TESTS.read_text(), list(rules())
    assert names
    for name in names:
        tries = re.findall(rf"alertname: {name}\n( +exp_alerts:)?", text)
        assert "" in tries, name
        assert any(tries), name


def test_the_rules_work() -> None:
    """promtool understands them, and they do as alerts_test.yml says."""
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)


def expressions(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


@BOARDS
def test_the_dashboard_can_be_imported(path: Path) -> None:
    """Its data source is chosen on import, panels do not lie on each other, and each says what it is."""
    board = json.loads(path.read_text())
    names = [variable["name"] for variable in board["templating"]["list"]]
    assert names == ["datasource", "node" if path == FLEET else "instance"]
    assert board["id"] is None
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["targets"]
            assert panel["datasource"]["uid"] == "${datasource}"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


def test_the_dashboard_shows_all_that_is_told(told: dict[str, set[str]]) -> None:
    """Every figure is somewhere, every expression is of figures that there are, and of the nodes that were chosen."""
    shown = expressions(json.loads(DASHBOARD.read_text())["panels"])
    for expression in shown:
        check_expression(expression, told)
        assert expression.count('instance=~"$instance"') == len(re.findall(r"\bsonyc_ml_\w+", expression))
    bare = {re.sub("_(bucket|sum|count)$", "", name) for expression in shown for name in names(expression)}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in told} == bare


def test_the_fleet_is_shown_by_names(told: dict[str, set[str]]) -> None:
    """Every expression is of figures that there are, and of the nodes that were chosen by their names."""
    shown = expressions(json.loads(FLEET.read_text())["panels"])
    assert len(shown) > 10
    for expression in shown:
        check_expression(expression, told)
        assert 'sonyc_ml_node_info{node=~"$node"' in expression


@BOARDS
def test_the_expressions_of_the_dashboard_are_understood(tmp_path: Path, path: Path) -> None:
    """promtool reads each of them, as a rule."""
    shown = expressions(json.loads(path.read_text())["panels"])
    lines = ["groups:", "  - name: shown", "    rules:"]
    for i, expression in enumerate(shown):
        written = expression.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$node", ".*")
        lines += [f"      - record: panel_{i}", f"        expr: {json.dumps(written)}"]
    (tmp_path / "rules.yml").write_text("\n".join(lines) + "\n")
    assert f"{len(shown)} rules found" in promtool("check", "rules", tmp_path / "rules.yml")
