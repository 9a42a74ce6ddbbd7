"""Files that are no sound, hardly sound, or sound of a rare kind: each comes to an end, and none vanishes."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from scripts.fault_suite.rig import WITHOUT_CAPABILITIES, Node, Options, Row, as_root, has, record, sound, trial
from sonyc_ml.node.journal.journal import Journal
from tests.support import wavs
from tests.support.read_mutations import damaged
from tests.support.wavs import SYNTHETIC

N_QUICK, N_LONG, N_BATCH = 400, 40_000, 500
ABANDONED_S = 2.0
N_KINDS = 40
N_WAITING = 100
NOISE = np.random.default_rng(0).normal(0, 0.1, 8000)
PCM = (NOISE * 32767).astype("<i2").tobytes()
LONGEST = "x" * 251 + ".wav"  # the longest name that a disk takes; its output's is longer
# Links that lead nowhere: there is no file. Of these, one leads to a file in the end.
NOTHING = {"to itself.wav"}
WAITING = {"no permission.wav", "dangling.wav"}
GROWING = {"growing, header of 0.wav", "growing, whole.wav"}


# What does not end as done. What is salvaged is "unfinished" where it is not to be.
ENDS = {
    "unreadable": {
        "0 Hz.wav",
        "0 bits.wav",
        "4 GHz.wav",
        "65,535 channels.wav",
        "a pipe.wav",
        "a socket.wav",
        "archive.wav",
        "chance.wav",
        "flac, cut.wav",
        "fmt behind the sound.wav",
        "huge.wav",
        "infinite.wav",
        "loud.wav",  # each sample is a number, and what is computed of them is none
        "mp3.wav",
        "no channels.wav",
        "no fmt.wav",
        "not a number.wav",
        "page.wav",
        "rf64, streaming.wav",
        "sound twice.wav",
        "text.wav",
        "thousands of chunks.wav",
        "to a folder.wav",
        "too many chunks.wav",
        "unknown format.wav",
        "zeros.wav",
    },
    "unfinished": {
        "aiff, truncated.wav",
        "cut in the header.wav",
        "endless chunk.wav",
        "magic alone.wav",
        "ogg, cut.wav",
        "one byte.wav",
        "w64, truncated.wav",
    },
    "empty": {
        "empty.wav",
        "header alone.wav",
    },
    "salvaged": {
        "growing, header of 0.wav",
        "header of 0.wav",
        "rf64, truncated.wav",
        "truncated in a frame.wav",
        "truncated.wav",
    },
    "output name": {LONGEST},
}


def run(options: Options) -> list[Row]:
    """Every kind, with and without salvage; and damage by chance."""
    rows = [_kinds(options.folder / word, options.bundle, word) for word in ("salvage", "quarantine")]
    rows.append(_pauses(Node(options.folder / "pauses", options.bundle)))
    n = N_LONG if options.is_long else N_QUICK
    return [*rows, _mutations(options.folder / "mutations", options.bundle, n, options.seed)]


def _kinds(folder: Path, bundle: Path, unfinished: str) -> Row:
    contents, specials = _contents(), _specials()
    row = Row(f"{len(contents) + len(specials)} kinds of files, unfinished ones: {unfinished}")
    settings = {"recordings": f'abandoned_s = {ABANDONED_S}\nunfinished = "{unfinished}"', "spool": "rescan_s = 1.0"}
    node = Node(folder, bundle, settings)
    prefix = WITHOUT_CAPABILITIES if as_root() and has(WITHOUT_CAPABILITIES[0]) else ()
    try:
        with ExitStack() as held:
            node.start(*prefix)
            # First, and noticed before the others come: on a busy machine those take longer than these are waited for.
            for name in GROWING:
                specials[name](node.recordings / name, held)
            node.wait_for(lambda: _growing(node) == GROWING, "both to be seen growing")
            for name, content in contents.items():
                (node.recordings / name).write_bytes(content)
            for name in sorted(specials.keys() - GROWING):
                specials[name](node.recordings / name, held)
            node.wait_for(lambda: _names(node) - _ended(node) <= WAITING, "every file to come to its end")
            row.problems += [] if as_root() and not prefix else _permission(node)
            (folder / "elsewhere.wav").write_bytes(sound())
            node.wait_for(lambda: not _names(node) - _ended(node), "what could not be read to be embedded")
        row.counts = dict(node.states().most_common())
        row.problems += node.problems() + _wrong_ends(node, unfinished)
        if len(contents) + len(specials) < N_KINDS:
            row.problems.append(f"there are fewer than {N_KINDS} kinds")
        if status := node.end():
            row.problems.append(f"the daemon ended with {status}")
    except RuntimeError as error:
        row.problems.append(f"{error}; without an end: {sorted(_names(node) - _ended(node))}")
    finally:
        node.kill()
    return row


def _growing(node: Node) -> set[str]:
    return {entry.identity.name for entry in node.entries() if entry.reason == "growing"}


def _permission(node: Node) -> list[str]:
    """What may not be read is waited for with its reason, and embedded as soon as it may."""
    path = node.recordings / "no permission.wav"
    entries = [entry for entry in node.entries() if entry.identity.name == path.name]
    path.chmod(0o644)
    told = [(entry.state, entry.reason) for entry in entries]
    return [] if told == [("pending", "unavailable")] else [f"{path.name}, which may not be read, is {told}"]


def _names(node: Node) -> set[str]:
    """What has a recording's name, whatever it is; hidden files and folders have not."""
    found = set()
    for folder, _, names in os.walk(node.recordings):
        found |= {os.path.relpath(os.path.join(folder, name), node.recordings) for name in names}
    return {n for n in found - NOTHING if n.lower().endswith(".wav") and not Path(n).name.startswith(".")}


def _ended(node: Node) -> set[str]:
    return {entry.identity.name for entry in node.entries() if entry.state in ("done", "quarantined")}


def _wrong_ends(node: Node, unfinished: str) -> list[str]:
    """Files that came to another end than they should."""
    expected = {name: end for end, names in ENDS.items() for name in names}
    wrong = []
    for entry in node.entries():
        end = expected.get(entry.identity.name, "done")
        end = "unfinished" if end == "salvaged" and unfinished == "quarantine" else end
        came = "salvaged" if entry.salvaged else entry.reason or entry.state
        if came != end:
            wrong.append(f"{entry.identity.name}: {came}, not {end}")
    return wrong


def _pauses(node: Node) -> Row:
    """A recorder opens its file and pauses for long; what it has not written yet must not pass for a recording."""
    row = Row("a recorder that pauses before it writes, others waiting")
    with trial(node, row):
        node.start()
        record(node.recordings, (f"{i:03}.wav" for i in range(N_WAITING)), sound(30.0))
        with (node.recordings / "slow.wav").open("wb") as file:
            node.wait_for(lambda: node.ask(Journal.counts)["done"] > 5, "the first of the others")
            time.sleep(0.3)  # six times longer than a recording takes to settle
            n_waiting = node.ask(Journal.counts)["pending"]
            file.write(sound())
        node.wait_until_done()
        row.counts = {**node.states(), "waiting when it was written": n_waiting}
        row.problems = node.problems()
        if node.states() != {"done": N_WAITING + 1}:
            row.problems.append("there is something in the journal that was never recorded")
        if n_waiting < 5:
            row.problems.append("too few were waiting: it shows nothing")
    return row


# The kinds


def _contents() -> dict[str, bytes]:
    return {**_written(), **_by_hand(), **_no_sound()}


def _encoded(y: np.ndarray, kind: str, subtype: str | None = None, sample_rate: int = 8000) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, y, sample_rate, format=kind, subtype=subtype)
    return content.getvalue()


def _written() -> dict[str, bytes]:
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


def _specials() -> dict[str, Make]:
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


# Damage by chance


def _mutations(folder: Path, bundle: Path, n: int, seed: int) -> Row:
    """Damage good recordings in many ways, a batch at a time."""
    row = Row(f"{n:,} mutated files, seed {seed}")
    node = Node(folder, bundle, {"recordings": "abandoned_s = 0.3"})
    chance = random.Random(seed)
    originals, n_made = list(_written().values()), 0
    with trial(node, row):
        node.start()
        for first in range(0, n, N_BATCH):
            names = [f"{i:05}.wav" for i in range(first, min(first + N_BATCH, n))]
            for name in names:
                (node.recordings / name).write_bytes(damaged(chance.choice(originals), chance))
            n_made += len(names)
            node.wait_for(partial(node.ask, partial(_all_ended, n_made=n_made)), "a batch's end")
            row.problems += node.problems()
            _clear(node.recordings.iterdir())
            _clear(node.outputs.glob("*.npz"))
        row.counts = dict(node.states().most_common())
        missing = {f"{i:05}.wav" for i in range(n)} - {entry.identity.name for entry in node.entries()}
        if missing:
            row.problems.append(f"{len(missing)} of {n} are not in the journal: {sorted(missing)[:3]}")
    return row


def _all_ended(journal: Journal, n_made: int) -> bool:
    counts = journal.counts()
    return counts["done"] + counts["quarantined"] == n_made


def _clear(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink()
