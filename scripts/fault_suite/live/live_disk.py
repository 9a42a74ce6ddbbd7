"""Listening under strace: not a byte of the sound is written to a file, as the kernel sees it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from scripts.fault_suite.rig import PATIENCE_S, ROOT, Options, Row
from sonyc_ml.sound.live.formats import raw_layout
from tests.support.live import samples, wav_header

RATE, CHUNK_S, SEGMENT_S = 8000, 0.125, 10.0
QUICK_S, LONG_S = 25.0, 3600.0
PIECE, EVERY = 24, 997  # bytes: no two pieces of noise of this length are equal; where one is looked for
WRITES = "write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice"
STRACE = ["strace", "-f", "-qq", "-y", "-xx", "-s", "1000000", "-e", f"trace={WRITES}", "-o"]
# Where other threads' calls come between, strace parts a call into two lines; the first has what is written.
CALL = re.compile(r"\w+\(\d+<([^>]*)>, (.*?)(?:\) = (\d+)| <unfinished \.\.\.>)$")


def run(options: Options) -> list[Row]:
    """Listen for a while, and for a short while where the sound may be spooled: there it must be found."""
    if shutil.which("strace") is None:
        return [Row("sound on the disk", skipped="strace is not installed")]
    seconds = options.minutes * 60 if options.minutes else LONG_S if options.is_long else QUICK_S
    rows = [
        Row(f"live sound: writes to files in {seconds:,.0f} s of listening"),
        Row("control: the same where sound may be spooled"),
    ]
    for row, spool, length_s in zip(rows, ("never", "always"), (seconds, QUICK_S), strict=True):
        try:
            seen = listen(options, spool, length_s)
        except subprocess.TimeoutExpired as error:  # it hides nothing of what was seen otherwise
            row.problems.append(f"it did not end within {error.timeout:g} s")
            continue
        row.counts |= {"bytes written": seen.n_bytes, "pieces of sound": seen.n_found, "recordings": seen.n_recordings}
        if seen.n_bytes < 10_000 or (spool == "never" and seen.n_recordings < length_s // SEGMENT_S):
            row.problems.append("outputs were not seen being written")
        if (seen.n_found > 0) != (spool == "always"):
            row.problems.append("sound was written" if spool == "never" else "sound that was written was not found")
    return rows


class Seen:
    """What strace says of writes to files.

    Attributes
    ----------
    pieces : set of bytes
        Pieces of the sound that was sent.
    n_bytes, n_found, n_recordings : int
    """

    def __init__(self) -> None:
        self.pieces: set[bytes] = set()
        self.n_bytes = self.n_found = self.n_recordings = 0

    def sent(self, content: bytes) -> None:
        """Some sound is about to be sent."""
        self.pieces |= {content[start : start + PIECE] for start in range(0, len(content) - PIECE, EVERY)}

    def read(self, lines: Iterable[str]) -> None:
        """Look at each call that writes; pipes and sockets are no files."""
        for line in lines:
            call = CALL.search(line.rstrip())
            if call is None or not call[1].startswith("\\x2f"):
                continue
            written = bytes.fromhex("".join(re.findall(r"\\x([0-9a-f]{2})", call[2])))
            self.n_bytes += len(written) if call[3] is None else int(call[3])
            self.n_found += sum(written[i : i + PIECE] in self.pieces for i in range(len(written) - PIECE + 1))


def listen(options: Options, spool: str, seconds: float) -> Seen:
    """Send sound in its own time into ``sonyc-ml listen`` under strace."""
    folder, seen = options.folder / spool, Seen()
    folder.mkdir()
    os.mkfifo(trace := folder / "trace")
    listen = [sys.executable, "-m", "sonyc_ml", "listen", "-", "--model", str(options.bundle), "--output", "out"]
    words = [*STRACE, str(trace), *listen, "--segment", str(SEGMENT_S), "--spool", spool, "--levels"]
    reader = threading.Thread(target=lambda: read(trace, seen))
    reader.start()
    quiet = subprocess.DEVNULL
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, cwd=folder, env=environment
    ) as node:
        assert node.stdin is not None
        node.stdin.write(wav_header(raw_layout(RATE)))
        due_s = time.monotonic()
        for number in range(round(seconds / CHUNK_S)):
            content = samples("S16_LE", round(CHUNK_S * RATE), 1, number)
            seen.sent(content)
            node.stdin.write(content)
            node.stdin.flush()
            due_s += CHUNK_S
            time.sleep(max(0.0, due_s - time.monotonic()))
        node.stdin.close()
        node.wait(5 * PATIENCE_S)  # strace is slow, and what is left may be much
    reader.join()
    seen.n_recordings = len(list((folder / "out").rglob("*Z*.npz")))
    return seen


def read(trace: Path, seen: Seen) -> None:
    """Read what strace writes into a pipe."""
    with trace.open() as lines:
        seen.read(lines)
