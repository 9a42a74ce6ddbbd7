"""docs/questions.md: every command and program runs, on a small dataset in the layout of an archive."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonyc_ml.cli import main
from sonyc_ml.outputs.archive.packing import pack
from tests.conftest import ROOT, needs

PAGE = ROOT / "docs" / "questions.md"
MODEL = ROOT / "models" / "quantized_default_int8.tflite"
NODES = ("pole_1", "pole_2")


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Recordings of two nodes, what both have packed of them, and an example that was cut out of one."""
    t = np.arange(3 * 16000) / 16000
    for number, node in enumerate(NODES):
        (tmp_path / "recordings" / node).mkdir(parents=True)
        for hour in (10, 11):
            rng = np.random.default_rng(10 * number + hour)
            siren = 0.2 * np.sin(2 * np.pi * (700 * t + 40 * np.sin(2 * np.pi * (hour - 9) * t)))
            path = tmp_path / "recordings" / node / f"20261121T{hour}5900Z.wav"
            soundfile.write(path, siren + rng.normal(0, 0.01, len(t)), 16000)
        arguments = ["embed", str(tmp_path / "recordings" / node), "--output", str(tmp_path / "outputs" / node)]
        arguments += ["--model", str(MODEL), "--levels", "--detect", "0", "--workers", "1", "--quiet"]
        assert main(arguments) == 0
        outputs = sorted((tmp_path / "outputs" / node).glob("*.npz"))
        assert not pack(outputs, tmp_path / "archive", node).left_out
    (tmp_path / "example.wav").write_bytes((tmp_path / "recordings" / "pole_1" / "20261121T105900Z.wav").read_bytes())
    return tmp_path


@needs("duckdb")
@needs("pandas")
@needs("pyarrow")
def test_every_question_is_answered(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page; the example is found in its own recording, clips are cut, nodes are told apart."""
    said = []
    programs = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.chdir(workplace)
    capsys.readouterr()
    for language, program in programs:
        if language == "python":
            exec(compile(program, str(PAGE), "exec"), {})
        else:
            for line in program.splitlines():
                command, _, target = line.partition(" > ")
                said.append(capsys.readouterr().out)
                assert main(shlex.split(command)[1:]) == 0, line
                if target:
                    Path(target).write_text(capsys.readouterr().out)
        said.append(capsys.readouterr().out)
    assert len(programs) == 9
    text = "\n".join(said)
    assert all(text.count(node) >= 4 for node in NODES)
    first = (workplace / "matches.csv").read_text().splitlines()[1].split(",")
    assert float(first[0]) > 0.9999
    assert first[1:3] == ["pole_1", "20261121T105900Z.wav"]
    assert list((workplace / "clips").rglob("*.wav"))
    assert list((workplace / "like-this" / "match").glob("*.wav"))
    assert '"by": "node"' in text
