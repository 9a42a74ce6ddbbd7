"""What the node's figures are tested with: a journal that has some, and readers of the text format."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.base.human import iso
from sonyc_ml.base.lock import Lock
from sonyc_ml.node.config import Config, MetricsConfig, ModelConfig, OutputConfig, SpoolConfig
from sonyc_ml.node.events import NodeEvent, OutputPublished
from sonyc_ml.node.facts import BundleFacts, DaemonFacts, Facts, FolderFacts, InputFacts
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.telemetry.counts import EventCounts, process_use, write_counts
from sonyc_ml.sound.node import Node
from tests.conftest import ROOT

FETCHED = ROOT / ".promtool" / "usr" / "bin" / "promtool"  # by scripts/setup-promtool
PROMTOOL = FETCHED if FETCHED.exists() else shutil.which("promtool")
NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"

Key = tuple[str, tuple[tuple[str, str], ...]]
Samples = dict[Key, float]

PUBLISHED = OutputPublished(
    "a.wav", "tiny", Path("a.wav.npz"), "", 10.0, 0.1, 91, 1000, {"embed": 0.02, "store": 0.004}
)


def promtool(*arguments: object, text: bytes = b"") -> str:
    """What promtool says; skips the test where it is not there."""
    if PROMTOOL is None:
        pytest.skip("promtool is not here; scripts/setup-promtool gets it")
    command = [PROMTOOL, *map(str, arguments)]
    ended = subprocess.run(command, input=text, capture_output=True, timeout=60, check=False)
    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 0, said
    return said


def parse(text: bytes) -> Samples:
    """Read the text format 0.0.4 and refuse whatever is not as it should be."""
    samples: Samples = {}
    kinds: dict[str, str] = {}
    assert text.endswith(b"\n")
    helped = ""
    for line in text.decode().removesuffix("\n").split("\n"):
        if match := re.fullmatch(rf"# HELP ({NAME}) (.+)", line):
            helped = match[1]
            assert helped not in kinds, f"{helped} comes twice"
        elif match := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line):
            assert match[1] == helped
            kinds[helped] = match[2]
        else:
            name, labels, value = parse_sample(line)
            suffixes = ("_bucket", "_sum", "_count") if kinds[helped] == "histogram" else ("",)
            assert name in [helped + suffix for suffix in suffixes], f"{name} stands below {helped}"
            assert (name, labels) not in samples, f"{line} comes twice"
            samples[name, labels] = value
    check_kinds(kinds, samples)
    return samples


def parse_sample(line: str) -> tuple[str, tuple[tuple[str, str], ...], float]:
    """Read one line, character by character within the quotation marks."""
    head = re.match(rf"({NAME})(\{{)?", line)
    assert head, line
    rest, labels = line[head.end() :], []
    while head[2]:
        pair = re.match(rf'({NAME})="((?:[^"\\\n]|\\[\\n"])*)"([,}}])', rest)
        assert pair, line
        value = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), pair[2])
        labels.append((pair[1], value))
        rest = rest[pair.end() :]
        if pair[3] == "}":
            break
    assert re.fullmatch(r" ([+-]Inf|NaN|-?[0-9.]+(e[+-]?[0-9]+)?)", rest), line
    return head[1], tuple(labels), float(rest)


def check_kinds(kinds: dict[str, str], samples: Samples) -> None:
    """Counters end in _total and never fall below 0; a histogram's buckets rise to its count."""
    for name, kind in kinds.items():
        assert name.endswith("_total") == (kind == "counter"), name
        if kind == "counter":
            assert all(value >= 0 for (sample, _), value in samples.items() if sample == name)
    for (name, labels), count in samples.items():
        if name.endswith("_count"):
            ends = {
                dict(found)["le"]: value
                for (sample, found), value in samples.items()
                if sample == name.replace("_count", "_bucket")
                and [pair for pair in found if pair[0] != "le"] == [*labels]
            }
            assert [*map(float, ends)] == sorted(map(float, ends))
            assert [*ends.values()] == sorted(ends.values())
            assert ends["+Inf"] == count


def make_config(folder: Path, **metrics: Any) -> Config:
    """A configuration of folders that are there."""
    (folder / "in").mkdir(exist_ok=True)
    output = OutputConfig(folder / "out")
    models = (ModelConfig(folder / "tiny.tflite"),)
    return Config(SpoolConfig(folder / "in"), models, output, metrics=MetricsConfig(**metrics))


def counted(*events: NodeEvent) -> EventCounts:
    """Counts of a daemon with one bundle."""
    counts = EventCounts(["tiny"])
    for event in events:
        counts.on_event(event)
    return counts


@contextmanager
def journal_of(config: Config, counts: EventCounts | None = None) -> Iterator[Journal]:
    """The journal as a daemon has it that runs, and holds its lock; with what it has counted."""
    lock = Lock(config.state_folder)
    try:
        with closing(Journal(config.state_folder)) as journal:
            bundle = BundleFacts("tiny", "1.2.0", "ab", runtime="litert", xnnpack_operators=3, operators=5)
            daemon = DaemonFacts(
                os.getpid(),
                since=iso(time.time()),
                version="1.2.3",
                folder=str(config.spool.folder),
                output=str(config.output.folder),
                bundles=(bundle,),
                sources=("street",),
                node=Node("street-12", latitude=48.1, longitude=11.5, elevation_m=519.0, time_zone="UTC").record(),
            )
            journal.write_facts(
                Facts(daemon=daemon, folder=FolderFacts("watched"), input=InputFacts("quiet", iso(time.time())))
            )
            counts = counts or counted()
            counts.process = process_use(time.time())
            write_counts(journal, counts)
            yield journal
    finally:
        lock.release()
