"""docs/serve.md: what it shows works as it stands, at the port of this test's service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, needs, write_recording
from tests.support.serving import array_of, served

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client")]

PAGE = (ROOT / "docs" / "serve.md").read_text()


def block(language: str, beginning: str) -> str:
    """The page's code block of a language that begins so."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if text.startswith(beginning)]
    return str(found)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_the_page_works(tiny_bundle: Path, tmp_path: Path) -> None:
    """curl's commands, the JSON body and the Python program."""
    write_recording(tmp_path / "recordings" / "a.wav", seconds=2)
    with served("--model", tiny_bundle, "--port", 0) as service:
        here = f"127.0.0.1:{service.connection().port}"
        commands = block("bash", "curl").replace("127.0.0.1:8080", here).replace("curl ", "curl -sSf ")
        subprocess.run(["bash", "-euc", commands], cwd=tmp_path, check=True, capture_output=True, timeout=60)
        with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
            shape = arrays["embedding"].shape
        program = block("python", "import base64").replace("127.0.0.1:8080", here)
        python = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
        )
        assert python.stdout.startswith("[[")
        body = json.loads(block("json", "{\n"))
        body["parameters"]["outputs"] = ["embedding"]  # this bundle has no scores
        reply = service.ask("POST", "/predict", body)
        assert [array_of(one["embedding"]).shape[1] for one in reply.json()["predictions"]] == [shape[1]] * 2
