"""Damage recordings in many ways and read each: ``python read_mutations.py SEED N FOLDER``.

A program of its own, so that a crash, a hang or a word on stderr is seen. It damages the recordings of FOLDER in turn,
writes each into the folder, reads it, and prints how many were read and how many were refused.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

from sonyc_ml.errors import RecordingError
from sonyc_ml.sound.files import open_recording, read_recording

EXTREMES = (0, 1, 2, 3, 6, 7, 0x11, 0x50, 0x55, 0x7F, 0xFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEADER_LENGTH = 120  # bytes, in which most of the damage is done: that is where decisions are made


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Content with one to four wounds."""
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(max(1, min(len(content), chance.choice((HEADER_LENGTH, HEADER_LENGTH, 1 << 30)))))
        wound = chance.choice(("flip", "extreme", "insert", "delete", "truncate"))
        if wound == "truncate":
            content = content[: chance.randrange(max(1, len(content)))]
        else:
            n_replaced, replacement = _replacement(wound, content[place : place + 1], chance)
            content = content[:place] + replacement + content[place + n_replaced :]
    return content


def _replacement(wound: str, byte: bytes, chance: random.Random) -> tuple[int, bytes]:
    if wound == "flip":
        return 1, bytes(value ^ 1 << chance.randrange(8) for value in byte)
    if wound == "extreme":
        size = chance.choice((1, 2, 4, 8))
        return size, (chance.choice(EXTREMES) % (1 << 8 * size)).to_bytes(size, chance.choice(("little", "big")))
    return (0, chance.randbytes(chance.randint(1, 9))) if wound == "insert" else (chance.randint(1, 9), b"")


def main() -> None:
    """Read, count, print."""
    seed, n_mutations, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    recordings = [path.read_bytes() for path in sorted(folder.iterdir())]
    chance, counts, path = random.Random(seed), Counter[str](), folder / "damaged"
    for i in range(n_mutations):
        path.write_bytes(damaged(recordings[i % len(recordings)], chance))
        try:
            if i % 2:
                read_recording(path)
            else:
                with open_recording(path, salvage=True) as recording:
                    n_samples = sum(map(len, recording.blocks()))
                    assert n_samples == recording.n_samples <= recording.n_elapsed
                    assert recording.n_left >= 0
                    assert recording.levels.clipped_share <= 1
            counts["read"] += 1
        except RecordingError as error:
            counts["refused" if str(error).startswith(f"{path}: ") else f"refused without its path: {error}"] += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
