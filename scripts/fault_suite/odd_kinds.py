"""The odd files themselves, by name: their bytes, or how each is made."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile

from scripts.fault_suite.rig import sound
from tests.support import wavs
from tests.support.wavs import SYNTHETIC

NOISE = np.random.default_rng(0).normal(0, 0.1, 8000)
PCM = (NOISE * 32767).astype("<i2").tobytes()
LONGEST = "x" * 251 + ".wav"  # the longest name that a disk takes; its output's is longer


def contents() -> dict[str, bytes]:
    """Files by their names, whole."""
    return {**written(), **_by_hand(), **_no_sound()}


def _encoded(y: np.ndarray, kind: str, subtype: str | None = None, sample_rate: int = 8000) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, y, sample_rate, format=kind, subtype=subtype)
    return content.getvalue()


def written() -> dict[str, bytes]:
    """What libsndfile writes, under a WAV's name."""
    made = {f"{name}.wav": _encoded(NOISE, *kind) for name, kind in SYNTHETIC.items()}
    return made | {
        "alaw.wav": _encoded(NOISE, "WAV", "ALAW"),
        "ms adpcm.wav": _encoded(NOISE, "WAV", "MS_ADPCM"),
        "gsm.wav": _encoded(NOISE, "WAV", "GSM610"),
        "mp3.wav": _encoded(NOISE, "MP3", sample_rate=16000),
        "flac, cut.wav": _encoded(NOISE, "FLAC")[:5000],
        "ogg, cut.wav": _encoded(NOISE, "OGG", "VORBIS")[:3000],
        "384 kHz.wav": _encoded(NOISE, "WAV", sample_rate=384_000),
        "16 channels.wav": _encoded(np.tile(NOISE[:, None], 16), "WAV"),
        "one sample.wav": _encoded(NOISE[:1], "WAV"),
        "shorter than a window.wav": _encoded(NOISE[:800], "WAV"),
        "silence.wav": _encoded(np.zeros(8000), "WAV"),
        "tail of zeros.wav": wavs.wav(PCM[:8000] + bytes(8000)),
    }


def _by_hand() -> dict[str, bytes]:
    """Headers that say what is not so."""
    floats = NOISE.astype("<f4")
    return {
        "header of 0.wav": wavs.wav(PCM, promised=0),
        "streaming, ffffffff.wav": wavs.wav(PCM, promised=0xFFFFFFFF),
        "streaming, 80000000.wav": wavs.wav(PCM, promised=0x80000000),
        "streaming, sox.wav": wavs.wav(PCM, promised=0x7FFFF000),
        "truncated.wav": wavs.wav(PCM, promised=len(PCM) + 5000),
        "truncated in a frame.wav": wavs.wav(PCM)[:-333],
        "more than promised.wav": wavs.wav(PCM, promised=8000),
        "odd chunk before.wav": wavs.wav(PCM, before=[(b"LIST", b"odd"), (b"bext", bytes(602))]),
        "thousands of chunks.wav": wavs.wav(PCM, before=[(b"JUNK", b"")] * 9000),
        "too many chunks.wav": wavs.wav(PCM, before=[(b"JUNK", b"")] * 11_000),
        "big-endian.wav": wavs.wav((NOISE * 32767).astype(">i2").tobytes(), magic=b"RIFX"),
        "extensible, by hand.wav": wavs.wav(PCM, wavs.fmt(bits=-16)),
        "not a number.wav": wavs.wav(np.where(floats > 0.2, np.float32("nan"), floats).tobytes(), _float_fmt(32)),
        "infinite.wav": wavs.wav(np.where(floats > 0.2, np.float32("inf"), floats).tobytes(), _float_fmt(32)),
        "huge.wav": wavs.wav((NOISE * 1e300).astype("<f8").tobytes(), _float_fmt(64)),
        "loud.wav": wavs.wav((np.sign(NOISE) * 3e38).astype("<f4").tobytes(), _float_fmt(32)),
        "no channels.wav": wavs.wav(PCM, wavs.fmt(n_channels=0)),
        "65,535 channels.wav": wavs.wav(PCM, struct.pack("<HHIIHH", 1, 65535, 8000, 16000, 2, 16)),
        "0 Hz.wav": wavs.wav(PCM, wavs.fmt(sample_rate=0)),
        "4 GHz.wav": wavs.wav(PCM, struct.pack("<HHIIHH", 1, 1, 4_000_000_000, 16000, 2, 16)),
        "0 bits.wav": wavs.wav(PCM, wavs.fmt(bits=0)),
        "odd width.wav": wavs.wav(PCM, struct.pack("<HHIIHH", 1, 1, 8000, 16000, 3, 16)),
        "unknown format.wav": wavs.wav(PCM, wavs.fmt(0x7777)),
        "header alone.wav": wavs.wav(b""),
        "no fmt.wav": b"RIFF" + struct.pack("<I", 8012) + b"WAVE" + wavs.chunk(b"data", PCM[:8000]),
        "fmt behind the sound.wav": b"RIFF\x00\x20\x00\x00WAVE"
        + wavs.chunk(b"data", PCM)
        + wavs.chunk(b"fmt ", wavs.fmt()),
        "sound twice.wav": wavs.wav(PCM) + wavs.chunk(b"data", PCM),
        "endless chunk.wav": b"RIFF\xff\xff\xff\xffWAVE" + wavs.chunk(b"junk", PCM, 0xFFFFFFFF),
        "rf64, by hand.wav": wavs.rf64(PCM),
        "rf64, streaming.wav": wavs.rf64(PCM, promised=(1 << 64) - 1),
        "rf64, truncated.wav": wavs.rf64(PCM, promised=len(PCM) + 5000),
        "w64, by hand.wav": wavs.w64(PCM),
        "w64, truncated.wav": wavs.w64(PCM, promised=len(PCM) + 5000),
        "aiff, truncated.wav": wavs.aiff(PCM, promised=len(PCM) + 5000),
    }


def _float_fmt(bits: int) -> bytes:
    return wavs.fmt(wavs.FLOAT, bits=bits)


def _no_sound() -> dict[str, bytes]:
    whole = wavs.wav(PCM)
    return {
        "empty.wav": b"",
        "one byte.wav": b"R",
        "magic alone.wav": b"RIFF",
        "cut in the header.wav": whole[:30],
        "text.wav": b"This is not a sound at all.\n" * 50,
        "page.wav": b"<!DOCTYPE html><html><body>404</body></html>" * 20,
        "zeros.wav": bytes(1 << 20),
        "chance.wav": random.Random(0).randbytes(50_000),
        "archive.wav": b"PK\x03\x04" + bytes(5000),
    }


Make = Callable[[Path, ExitStack], object]


def specials() -> dict[str, Make]:
    """What is odd about a file and not about its content."""
    return {
        "a folder.wav": lambda path, _: _in_folder(path),
        "a pipe.wav": lambda path, _: os.mkfifo(path),
        "a socket.wav": _bind,
        "dangling.wav": lambda path, _: path.symlink_to(path.parent.parent / "elsewhere.wav"),
        "to a folder.wav": lambda path, _: path.symlink_to("/"),
        "to itself.wav": lambda path, _: path.symlink_to(path.name),
        "linked.wav": lambda path, _: path.symlink_to("pcm16.wav.wav"),
        "linked hard.wav": lambda path, _: path.hardlink_to(path.with_name("pcm16.wav.wav")),
        os.fsdecode(b"caf\xe9 \xff.wav"): lambda path, _: path.write_bytes(sound()),
        "line\nbreak, 'quoted' \"twice\" \U0001f426.wav": lambda path, _: path.write_bytes(sound()),
        "-rf.WAV": lambda path, _: path.write_bytes(sound()),
        LONGEST: lambda path, _: path.write_bytes(sound()),
        "no permission.wav": lambda path, _: _write(path, mode=0),
        "of the future.wav": lambda path, _: _write(path, mtime_s=time.time() + 86400),
        "of 1970.wav": lambda path, _: _write(path, mtime_s=0),
        "before 1970.wav": lambda path, _: _write(path, mtime_s=-86400),
        "growing, header of 0.wav": lambda path, held: _hold(path, held, wavs.wav(PCM, promised=0)),
        "growing, whole.wav": lambda path, held: _hold(path, held, wavs.wav(PCM)),
        ".hidden.wav": lambda path, _: path.write_bytes(sound()),
    }


def _in_folder(path: Path) -> None:
    path.mkdir()
    (path / "inner.wav").write_bytes(sound())


def _bind(path: Path, held: ExitStack) -> None:
    held.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))


def _write(path: Path, *, mode: int = 0o644, mtime_s: float | None = None) -> None:
    """Make a file elsewhere and move it in, so that it is never seen in another state."""
    whole = path.parent.parent / "made"
    whole.write_bytes(sound())
    whole.chmod(mode)
    if mtime_s is not None:
        os.utime(whole, (mtime_s, mtime_s))
    whole.rename(path)


def _hold(path: Path, held: ExitStack, content: bytes) -> None:
    """Write, and keep it open by another hand, so that it is heard being closed and is still being written."""
    held.enter_context(path.open("wb"))
    path.write_bytes(content)
