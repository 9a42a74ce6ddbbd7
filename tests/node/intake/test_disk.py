"""Sound stays in memory: nothing of it is written anywhere, as the kernel sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sonyc_ml.outputs.files import read_output
from sonyc_ml.sound.live.formats import raw_layout
from tests.conftest import ROOT
from tests.support.live import samples, wav_header

RATE, PIECE = 8000, 24  # bytes: no two pieces of noise of this length are equal
WRITES = "write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice"


@pytest.mark.parametrize("spool", ["never", "always"])
def test_not_a_byte_of_sound_is_written(tmp_path: Path, tiny_bundle: Path, spool: str) -> None:
    """Every call that writes to a file is looked at: none holds a piece of the sound, unless it may be spooled."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    content = samples("S16_LE", 12 * RATE, 1, seed=5)
    trace = ["strace", "-f", "-qq", "-y", "-xx", "-s", "100000", "-e", f"trace={WRITES}", "-o", str(tmp_path / "trace")]
    listen = [sys.executable, "-m", "sonyc_ml", "listen", "-", "--model", str(tiny_bundle), "--output", "out"]
    done = subprocess.run(
        [*trace, *listen, "--segment", "2", "--spool", spool],
        input=wav_header(raw_layout(RATE)) + content,
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    if b"PTRACE" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    pieces = {content[start : start + PIECE].hex() for start in range(0, len(content) - PIECE, 997)}
    n_bytes, found = 0, set[str]()
    for line in (tmp_path / "trace").read_text().splitlines():
        call = re.search(r"(\w+)\(\d+<([^>]*)>, (.*)\) = (\d+)$", line)
        if call is None or not call[2].startswith("\\x2f"):  # a pipe or a socket
            continue
        n_bytes += int(call[4])
        written = "".join(re.findall(r"\\x([0-9a-f]{2})", call[3]))
        found |= {piece for piece in pieces if piece in written}
    assert n_bytes > 20_000  # outputs and journal were seen
    assert bool(found) == (spool == "always")
    if spool == "never":
        outputs = sorted((tmp_path / "out").glob("live_*Z.npz"))
        assert [read_output(path).provenance.n_samples for path in outputs] == [2 * RATE] * 6
