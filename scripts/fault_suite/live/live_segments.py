"""Segments through every way in, in random chunks, of every width and number of channels: the numbers of files."""

from __future__ import annotations

import json
import random
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from scripts.fault_suite.rig import PATIENCE_S, Options, Row
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.files import read_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.header import Layout
from sonyc_ml.sound.live.audio_format import AudioFormat
from sonyc_ml.sound.live.formats import raw_layout
from sonyc_ml.sound.live.wyoming import encode
from tests.support.live import SUBTYPES, cut_at, samples, wav_header, write_wav

RATES = (8000, 16000, 22050, 44100, 48000)
SEGMENT_S = 1.0
N_SEGMENTS, N_LONG_SEGMENTS = 200, 1000
N_AT_ONCE = 10  # of one stream
LISTEN = [sys.executable, "-m", "sonyc_ml", "listen", "--segment", str(SEGMENT_S), "--model"]


def run(options: Options) -> list[Row]:
    """Send streams by every way in turn, and compare."""
    ways = {"pipe": by_pipe, "socket": by_socket, "Wyoming": by_wyoming, "command": by_command}
    n_wanted, rng = options.number(N_SEGMENTS, N_LONG_SEGMENTS), random.Random(options.seed)
    row, model = Row(f"{n_wanted:,} live recordings beside files of the same samples"), load_model(options.bundle)
    row.counts |= {"recordings": 0, "numbers that differ": 0, "starts off by a sample": 0}
    while row.counts["recordings"] < n_wanted:
        for name, way in ways.items():
            layout = any_layout(rng, is_wyoming=name == "Wyoming")
            content = samples_of(layout, rng)
            folder = options.folder / f"{row.counts['recordings']}-{name}"
            folder.mkdir()
            chunks = cut_at(content, [rng.randint(1, 60_000) for _ in range(20)])
            way(folder, options.bundle, layout, chunks)
            compare(row, model, folder, layout, content)
    row.problems += [f"{row.counts[key]} {key}" for key in list(row.counts)[1:] if row.counts[key]]
    return [row]


def any_layout(rng: random.Random, *, is_wyoming: bool) -> Layout:
    """A sample rate, format and number of channels; Wyoming has no 8 bits."""
    names = [name for name in SUBTYPES if not (is_wyoming and name == "U8")]
    return raw_layout(rng.choice(RATES), rng.choice(names), rng.randint(1, 8))


def samples_of(layout: Layout, rng: random.Random) -> bytes:
    """Sound of several segments and a bit."""
    formats = {(raw_layout(8000, name).tag, raw_layout(8000, name).bits): name for name in SUBTYPES}
    n_samples = round(N_AT_ONCE * SEGMENT_S * layout.sample_rate) - rng.randint(0, layout.sample_rate // 2)
    return samples(formats[layout.tag, layout.bits], n_samples, layout.n_channels, rng.randint(0, 10**6))


def compare(row: Row, model: Model, folder: Path, layout: Layout, content: bytes) -> None:
    """Hold each output against that of a file of the same samples."""
    outputs = sorted(map(read_output, (folder / "out").glob("*.npz")), key=lambda output: output.provenance.start_time)
    size = round(SEGMENT_S * layout.sample_rate) * layout.frame_size
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    if len(outputs) != len(parts):
        row.problems.append(f"{folder.name}: {len(outputs)} outputs of {len(parts)} segments")
    for output, part in zip(outputs, parts, strict=False):
        wanted = model.embed_file(write_wav(folder / "wanted.wav", part, layout))
        row.counts["recordings"] += 1
        row.counts["numbers that differ"] += not is_equal(output, wanted)
    row.counts["starts off by a sample"] += sum(
        abs(start_us - number * SEGMENT_S * 1e6) > 1e6 / layout.sample_rate
        for number, start_us in enumerate(starts_us(outputs))
    )


def is_equal(output: Output, wanted: Output) -> bool:
    """Whether the arrays of two outputs are equal, bit for bit."""
    pairs = [(output.timestamps, wanted.timestamps)]
    pairs += [(output.by_kind()[kind], array) for kind, array in wanted.by_kind().items()]
    return all(np.array_equal(one, other) for one, other in pairs)


def starts_us(outputs: list[Output]) -> Iterator[float]:
    """When recordings begin, in microseconds since the first."""
    times = [np.datetime64(output.provenance.start_time.removesuffix("+00:00"), "us") for output in outputs]
    return (float((time - times[0]).astype(np.int64)) for time in times)


# Ways in


def by_pipe(folder: Path, bundle: Path, layout: Layout, chunks: list[bytes]) -> None:
    """WAV into the standard input of ``sonyc-ml listen -``."""
    command = [*LISTEN, str(bundle), "--output", "out", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=folder, stdout=subprocess.DEVNULL, stderr=LOG) as process:
        assert process.stdin is not None
        process.stdin.write(wav_header(layout))
        for chunk in chunks:
            process.stdin.write(chunk)
            process.stdin.flush()
        process.stdin.close()
        process.wait(PATIENCE_S)


def by_socket(folder: Path, bundle: Path, layout: Layout, chunks: list[bytes]) -> None:
    """WAV over a Unix socket."""
    with listening(folder, bundle, "unix:a.sock"), socket.socket(socket.AF_UNIX) as connection:
        connect(connection, folder)
        connection.sendall(wav_header(layout))
        for chunk in chunks:
            connection.sendall(chunk)
        finish(connection)


def by_wyoming(folder: Path, bundle: Path, layout: Layout, chunks: list[bytes]) -> None:
    """Wyoming's events over a Unix socket."""
    audio = AudioFormat(layout.sample_rate, layout.bits // 8, layout.n_channels, is_float=layout.tag == 3)
    with listening(folder, bundle, "unix:a.sock"), socket.socket(socket.AF_UNIX) as connection:
        connect(connection, folder)
        connection.sendall(encode("audio-start", audio.data))
        for chunk in chunks:
            connection.sendall(encode("audio-chunk", audio.data, len(chunk)) + chunk)
        connection.sendall(encode("audio-stop"))
        finish(connection)


def by_command(folder: Path, bundle: Path, layout: Layout, chunks: list[bytes]) -> None:
    """WAV from a command, which goes on for ever once it has said everything."""
    (folder / "sound").write_bytes(wav_header(layout) + b"".join(chunks))
    sizes = json.dumps([len(chunk) for chunk in chunks])
    program = (
        f"import os, sys, time\nwith open('sound', 'rb') as f:\n for n in [44, *{sizes}]:\n"
        "  os.write(1, f.read(n))\ntime.sleep(3600)"
    )
    n_wanted = -(-sum(map(len, chunks)) // (round(SEGMENT_S * layout.sample_rate) * layout.frame_size)) - 1
    with listening(folder, bundle, f"command:{sys.executable} -c {shlex.quote(program)}"):
        wait_for(lambda: len(list((folder / "out").glob("*Z.npz"))) >= n_wanted)


LOG = subprocess.DEVNULL


class listening:  # noqa: N801  a context, as the others are used
    """A ``sonyc-ml listen`` that is stopped in order at the end."""

    def __init__(self, folder: Path, bundle: Path, source: str) -> None:
        command = [*LISTEN, str(bundle), "--output", "out", source]
        self._process = subprocess.Popen(command, cwd=folder, stdout=LOG, stderr=LOG)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end_s:
            raise TimeoutError(f"nothing after {PATIENCE_S:g} s")
        time.sleep(0.02)


def connect(connection: socket.socket, folder: Path) -> None:
    """Connect as soon as somebody listens."""
    wait_for((folder / "a.sock").exists)
    time.sleep(0.05)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(folder / "a.sock"))


def finish(connection: socket.socket) -> None:
    """Send no more, and wait until every answer has come."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1 << 16):
        pass
