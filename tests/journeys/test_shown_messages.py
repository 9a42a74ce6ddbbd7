"""What pages show of messages, reports and tables is what the program says, but for numbers, times and paths."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sonyc_ml.authoring.quantising.loss import Report
from sonyc_ml.bundles.about import Quantisation
from sonyc_ml.cli.bundle.quantise import as_text
from sonyc_ml.errors import CrashError
from sonyc_ml.node.crash import refuse_to_crash
from sonyc_ml.node.events import WindowHeard
from sonyc_ml.node.telemetry.messages import said_of_window
from tests.conftest import PATIENCE_S, ROOT, write_recording
from tests.support import networks
from tests.support.shown import printed, shape, shown

DEFAULT = ROOT / "models" / "quantized_default_int8.tflite"


def crash() -> None:
    """End as a runtime does that does not suit the processor; in a child."""
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_crash() -> None:
    """docs/arm.md: a runtime that kills the process."""
    with pytest.raises(CrashError) as raised:
        refuse_to_crash(crash, "/bundle/a.tflite")
    assert shape(" ".join(shown("arm.md", "sonyc-ml: error"))) == shape(f"sonyc-ml: error: {raised.value}")


def test_a_shape_that_does_not_fit(tmp_path: Path) -> None:
    """docs/features.md: the command of the page, and a network that wants fewer frames."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "NAME.tflite").write_bytes(networks.dense((1, 40, 133, 1)))
    page = (ROOT / "docs" / "features.md").read_text()
    (command,) = re.findall(r"```bash\n(sonyc-ml bundle make.*?)```", page, re.DOTALL)
    command = command.replace("\\\n", " ").replace("--center false", "")  # which is what the message proposes
    arguments = shlex.split(command)[1:]
    sentence = " ".join(shown("features.md", "the network reads windows")).rstrip("… ,")
    assert sentence in " ".join(printed(tmp_path, *arguments).split())


def test_a_report_of_quantising() -> None:
    """docs/quantising.md: each line of the report, in its order."""
    made = Quantisation("int8", "a 0.1.0", "a", "0" * 64, 1, 50, 200, 0, 150, 0.9, 0.8, 0.9, 150, 0.7, 0.7)
    report = Report("a", made, 369_000, 96_000, 0.047, 0.092, 897, (), (), ())
    real = [shape(line.replace("a 0.1.0", "ai-edge-quantizer 0.1.0")) for line in as_text(report).splitlines()]
    assert [shape(line) for line in shown("quantising.md", "recipe")] == real


def test_a_window_that_was_heard() -> None:
    """docs/listen.md: the message has the keys of the real one."""
    real = said_of_window(WindowHeard("street", "a", "2026-11-28T17:00:03.400000+00:00", 1.0, {"dog_bark": 0.93}))
    (text,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/listen.md").read_text(), re.DOTALL)
    said = json.loads(text)
    assert list(said) == ["id", "node", *real]
    assert (said["start_time"], said["scores"]) == (real["start_time"], real["scores"])


def test_a_gap_of_a_source(tmp_path: Path) -> None:
    """docs/listen.md: a source that ends, as audit tells of it."""
    (tmp_path / "a.raw").write_bytes(bytes(3 * 8000 * 2))
    source = "street=command:sh -c 'cat a.raw; echo no such device >&2; exit 1'"
    flags = ["--sample-rate", "8000", "--segment", "1", "--output", "out", "--model", str(DEFAULT)]
    command = [sys.executable, "-m", "sonyc_ml", "listen", source, *flags]
    first, gap, _ = shown("listen.md", "street ")
    wanted = shape(gap.partition(": audio")[0].replace("arecord", "sh"))
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as listening:
        until, lines, gaps = time.monotonic() + PATIENCE_S, [""], {""}
        while time.monotonic() < until and wanted not in gaps:
            time.sleep(0.5)
            lines = printed(tmp_path, "audit", "--output", "out").splitlines()
            gaps = {shape(line.partition(": no such")[0].replace(" -", " ")) for line in lines}
        listening.terminate()
    assert wanted in gaps, lines
    (live,) = [line for line in lines if "live:" in line]
    assert set(re.findall(r"[a-z]{2,}", live)) - {"pending"} <= set(re.findall(r"[a-z]{2,}", first))


def test_the_head_of_a_table_of_labels(tmp_path: Path) -> None:
    """docs/tutorial.md: the columns of the labels as csv."""
    write_recording(tmp_path / "recordings" / "a.wav", seconds=2)
    printed(tmp_path, "embed", "recordings", "--output", "heard", "--model", str(DEFAULT))
    lines = printed(tmp_path, "labels", "heard", "--format", "csv", "--threshold", "0.6").splitlines()
    assert shown("tutorial.md", "recording,") == lines[:1]
