"""A node's metrics over HTTP: the same as the textfile's, beside those of the service itself."""

from __future__ import annotations

import os
from pathlib import Path

from sonyc_ml.node.telemetry.collector import Collector
from sonyc_ml.node.telemetry.exposition import render
from tests.support.metrics import PUBLISHED, Samples, counted, journal_of, make_config, parse, promtool
from tests.support.serving import served

CHANGING = ("sonyc_ml_disk_free_bytes",)


def of_the_node(samples: Samples) -> Samples:
    """The node's own, without the order of labels, and without what changes by itself."""
    return {
        (name, tuple(sorted(labels))): value
        for (name, labels), value in samples.items()
        if not name.startswith(("sonyc_ml_serve_", "process_", *CHANGING))
    }


def test_they_are_those_of_the_textfile(tmp_path: Path) -> None:
    """Names, labels, numbers; whatever a bundle is called, and a page of another name does not get them."""
    config = make_config(tmp_path)
    (tmp_path / "c.toml").write_text(
        '[spool]\nfolder = "in"\n[output]\nfolder = "out"\n[model]\npath = "tiny.tflite"\n[serve]\npredict = false\n'
    )
    counts = counted(PUBLISHED)
    counts.windows[os.fsdecode(b'caf\xe9 "\\')] = 7
    counts.levels = [("LAeq", "dBFS", float("-inf"))]
    with journal_of(config, counts), served("--config", tmp_path / "c.toml", "--port", 0) as service:
        body = service.ask("GET", "/metrics").body
        wanted = render(Collector(config.state_folder).families())
        assert service.ask("GET", "/metrics", Host="evil.example").status == 400
        assert service.ask("POST", "/metrics").status == 405
    promtool("check", "metrics", text=body)
    samples = parse(_known(body))
    assert of_the_node(samples) == of_the_node(parse(wanted))
    assert samples["sonyc_ml_daemon_up", ()] == 1
    assert samples["sonyc_ml_windows_total", (("bundle", 'caf\\udce9 "\\'),)] == 7


def _known(body: bytes) -> bytes:
    """The text without when counters were made, which prometheus-client adds to its own."""
    lines = body.decode().splitlines(keepends=True)
    return "".join(line for line in lines if "_created" not in line and not line.startswith("# EOF")).encode()
