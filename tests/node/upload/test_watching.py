"""How uploading is: in status, metrics, events, the doctor, and when the process is told to end."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import cast

import pytest

from sonyc_ml.cli.node_text import status_text
from sonyc_ml.node.doctor.upload import of_upload
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.event_log import read_events
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.operate.status import status
from sonyc_ml.node.reporter import Reporter
from sonyc_ml.node.running_bundles import RunningBundles
from sonyc_ml.node.spool.spool import FolderState
from sonyc_ml.node.starting import facts_of
from sonyc_ml.node.telemetry.collector import Collector
from sonyc_ml.node.upload.facts import OK, STOPPED, read_facts
from tests.support.stores import StoreHere, s3_store
from tests.support.uploads import UploadingNode, write_outputs


@pytest.fixture
def node(tmp_path: Path, disk: StoreHere) -> UploadingNode:
    made = UploadingNode(tmp_path / "node", disk, 'pack = "none"')
    write_outputs(made.outputs, 3)
    return made


def metrics(node: UploadingNode) -> dict[str, object]:
    families = Collector(node.config.state_folder, lambda: Facts(daemon=facts_of(node.config))).families()
    head = "sonyc_ml_upload_"
    return {one.name.removeprefix(head): one.samples[0][1] for one in families if one.name.startswith(head)}


def test_a_store_that_is_away_is_seen_everywhere(node: UploadingNode, tmp_path: Path) -> None:
    """And when it is there again; a process that has ended is seen, too."""
    (tmp_path / "disk").rename(tmp_path / "away")
    with closing(Journal(node.config.state_folder)) as journal, closing(node.uploader()) as uploader:
        reporter = Reporter(facts_of(node.config), Counter(), timer=map(float, count(0, 10)).__next__, summary_s=1.0)
        reporter.publish_in(journal)
        reporter.started(cast("RunningBundles", ()), FolderState("watched"))
        uploader.turn()
        reporter.summarise()
        answer = status(journal)
        assert answer["upload"]["word"] == "failing"
        assert any("uploading fails" in text and "mounted" in text for text in answer["attention"])
        assert "failing" in status_text(answer)
        found = metrics(node)
        assert (found["up"], found["failing"], found["waiting"]) == (1, 1, 3)
        assert found["waiting_bytes"] == sum(path.stat().st_size for path in node.outputs.glob("*.npz"))
        (tmp_path / "away").rename(tmp_path / "disk")
        time.sleep(1.1)
        uploader.turn()
        reporter.summarise()
        found = metrics(node)
        assert (found["failing"], found["waiting"], found["oldest_waiting_seconds"]) == (0, 0, 0)
        assert abs(float(str(found["last_success_timestamp_seconds"])) - time.time()) < 60
        told = [event.to_plain() for event in read_events(journal, 0)]
        assert [one["state"] for one in told if one["event"] == "upload"] == ["failing", "ok"]
        uploader.close()
        assert status(journal)["upload"]["word"] == STOPPED
        assert any("does not run" in text for text in status(journal)["attention"])
        assert metrics(node)["up"] == 0


def test_the_doctor_asks_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, or the sentence says why not; nobody has to run for that."""
    with s3_store() as store:
        node = UploadingNode(tmp_path / "node", store)
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        found = {name: check() for name, check in of_upload(node.config)}
        assert [found[name].verdict for name in ("upload", "credentials", "store")] == ["warn", "ok", "ok"]
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        found = {name: check() for name, check in of_upload(node.config)}
    assert [found[name].verdict for name in ("credentials", "store")] == ["warn", "bad"]
    assert "AWS_SECRET_ACCESS_KEY" in found["credentials"].text


def test_a_process_ends_by_a_signal(node: UploadingNode, disk: StoreHere) -> None:
    """In order, whatever it waits for; a second one beside it is refused."""
    process = node.start()
    for _ in range(300):
        if len(disk.objects()) == 3:
            break
        time.sleep(0.1)
    facts = read_facts(node.state)
    assert facts is not None
    assert facts.word == OK
    second = node.run("--once")
    assert (second.returncode, "already" in second.stderr) == (2, True)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said


@pytest.mark.parametrize(
    ("more", "said"),
    [('to = "ftp://host/x"', "upload.to"), ("pack = 3", "upload.pack"), ('Pack = "day"', "did you mean upload.pack")],
)
def test_a_mistake_names_its_key(tmp_path: Path, disk: StoreHere, more: str, said: str) -> None:
    node = UploadingNode(tmp_path / "node", disk)
    head = node.path.read_text().partition("[upload]")[0]
    node.path.write_text(f"{head}[upload]\n{more}\n")
    refused = node.run("--once")
    assert refused.returncode == 2
    assert said in refused.stderr


def test_outside_its_time_of_day_nothing_is_sent(tmp_path: Path, disk: StoreHere) -> None:
    """It is told until when it waits; at the time it sends."""
    node = UploadingNode(tmp_path / "node", disk, 'pack = "none"\nbetween = "01:00-05:00"')
    write_outputs(node.outputs, 1)
    now = 1_795_996_800.0 - 1_795_996_800.0 % 86400
    with closing(node.uploader(clock=lambda: now)) as uploader:
        uploader.turn()
        assert disk.objects() == {}
        assert (uploader.facts().word, "01:00" in uploader.facts().detail) == ("waiting", True)
        now += 3600
        uploader.turn()
    assert len(disk.objects()) == 1


def test_the_day_s_reports_leave_with_the_outputs(tmp_path: Path, disk: StoreHere) -> None:
    """What audit and status answer, once a day."""
    node = UploadingNode(tmp_path / "node", disk, 'pack = "none"\nalso = ["audit", "status"]')
    Journal(node.config.state_folder).close()
    for _ in range(2):
        node.turn()
    names = sorted(name.rpartition("/")[2] for name in disk.objects())
    assert [name[10:-22] for name in names] == ["-audit", "-status"]
