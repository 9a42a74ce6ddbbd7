"""Damage manifests in many ways and read each: ``python -m tests.support.fuzz_manifests SEED N``.

A program of its own, so that it can be run for long. It changes the values, keys and bytes of manifests that have every
section, reads each, and of those that are read loads some as a bundle with a small network. It prints how many were
read, refused and loaded, and ends with a traceback where anything but a BundleError is raised, or where a manifest
that was read is not the same when its text is read again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.errors import BundleError
from sonyc_ml.model.loading import make_described
from tests.support import networks

DIGEST = 64 * "0"
WHOLE: tuple[dict[str, Any], ...] = (
    {
        "schema_version": 1,
        "name": "a",
        "version": "1.2.3",
        "sample_rate": 8000,
        "window_size_s": 0.001,
        "hop_size_s": 0.001,
        "input": {"kind": "pcm", "parameters": {"target_sr": 8000, "align": "start", "shortest_s": 0.0005}},
        "files": {"a.tflite": DIGEST, "h.tflite": DIGEST, "s.tflite": DIGEST, "g.npz": DIGEST},
        "description": "a network",
        "licence": "MIT",
        "outputs": {"scores": 0},
        "constants": {"place": [48.1, 11.6], "week": 24},
        "state": [{"in": "0", "out": 1}],
        "activation": "sigmoid",
        "sensitivity": 1.0,
        "labels": ["a", "b"],
        "head": {"network": "h.tflite", "n_embeddings": 4},
        "stages": ["s.tflite"],
        "golden": {"file": "g.npz", "features_db": 0.01, "cosine": 0.999, "scores": 0.1},
        "detections": {"threshold": 0.5, "thresholds": {"a": 0.2}, "classes": ["a"], "top_k": 2, "merge_s": False},
        "keep": {"scores": "top-k", "top_k": 2, "score_dtype": "float16", "embedding_dtype": "float32"},
        "metadata": {"domains": ["music"], "tags": ["x"], "short_description": "s"},
        "parameters": {"x": 1},
        "pickle": {"python": "3.11.0"},
    },
    {
        "schema_version": 1,
        "name": "a",
        "version": "1.0.0",
        "sample_rate": 16000,
        "window_size_s": 0.0,
        "hop_size_s": 0.0,
        "input": {"kind": "waveform", "parameters": {}},
        "files": {"a.tflite": DIGEST, "b.tflite": DIGEST},
        "waveform": {
            "tracks": ["denoised"],
            "block_length": 512,
            "shift_length": 128,
            "stages": [{"network": "a.tflite", "state": [{"in": 1, "out": 1}]}, {"network": "b.tflite"}],
            "class": "sonyc_ml.model.waveform.dtln:Dtln",
        },
    },
    {
        "schema_version": 1,
        "name": "a",
        "version": "1.0.0",
        "sample_rate": 8000,
        "window_size_s": 1.0,
        "hop_size_s": 0.1,
        "input": {
            "kind": "log_mel",
            "parameters": {"n_mels": 64, "n_fft": 1024, "mel_hop_len": 160, "preset": "yamnet"},
        },
        "files": {"a.tflite": DIGEST},
    },
    {
        "schema_version": 1,
        "name": "a",
        "version": "1.0.0",
        "sample_rate": 8000,
        "window_size_s": 0.001,
        "hop_size_s": 0.001,
        "input": {"kind": "pcm", "parameters": {"target_sr": 8000}},
        "files": {"a.tflite": DIGEST},
        "outputs": {"scores": 0},
        "labels": ["a", "b", "c", "d", "e", "f", "g", "h"],
        "detections": {"threshold": 0.5},
    },
)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 1.5, -0.0, 1e308, 1e-308, 2**31, 2**40, 2**63, 2**64, 10**30, 10**400),
    *("", "a", "..", "../x", "/etc/passwd", "a\0b", "\n", "\ud800", "0", "1.0.0", "class", "NaN", "softmax", "x" * 999),
    *([], {}, [[]], [None], {"": 1}, {"a": {}}, [1, "a", None], 40 * [0.5], {"a": 1, "b": 2}, "none", "pcm", "log_mel"),
)
NETWORK = networks.reshaping(networks.Spec((1, 8)), networks.Spec((1, 8)))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where each value of a manifest is, by keys and numbers."""
    found = [path] if path else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        found += places(inner, (*path, key))
    return found


def damage(table: dict[str, Any], chance: random.Random) -> None:
    """Change, add or take away one value."""
    *path, key = chance.choice(places(table))
    where: Any = table
    for step in path:
        where = where[step]
    kind = chance.random()
    if kind < 0.5:
        where[key] = copy.deepcopy(chance.choice(ODD))
    elif kind < 0.65:
        del where[key]
    elif kind < 0.8 and isinstance(where, dict):
        where[chance.choice([*map(str, WHOLE[0]), "", "x", "__class__", "self"])] = copy.deepcopy(chance.choice(ODD))
    elif isinstance(where[key], int | float) and not isinstance(where[key], bool) and abs(where[key]) < 1e290:
        where[key] = where[key] * chance.choice((-1, 0.5, 2, 1e3, 1e9, 1e-6))
    else:
        other = chance.choice(WHOLE)
        where[key] = json.loads(json.dumps(other[chance.choice(list(other))]))


def damaged(chance: random.Random) -> bytes:
    """The bytes of a manifest with some faults."""
    table = json.loads(json.dumps(chance.choice(WHOLE)))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        if table:
            damage(table, chance)
    content = bytearray(json.dumps(table).encode())
    if chance.random() < 0.25:
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(content))
            content[place : place + chance.choice((0, 1, 1, 9))] = chance.choice((b"", b"{", b'"', b"\xff", b",", b"9"))
    return bytes(content)


def loaded(manifest: Manifest) -> bool:
    """Whether it can be loaded with a network that it may not fit."""
    bundle = Bundle("a", Path("a.tflite"), manifest, dict.fromkeys(manifest.files, NETWORK), DIGEST)
    if "a.tflite" not in manifest.files:  # refused before
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_described(bundle)
    except BundleError:
        return False
    return True


def main(seed: int, n: int) -> None:
    """Read `n` manifests."""
    chance, counts = random.Random(seed), Counter[str]()
    for _ in range(n):
        content = damaged(chance)
        try:
            try:
                manifest = parse_manifest(content, "a.json")
            except BundleError as error:
                if not str(error).isprintable():
                    raise AssertionError(repr(str(error))) from error
                counts["refused"] += 1
                continue
            counts["read"] += 1
            if not manifest.files:  # to be completed by `bundle trust`; nothing loads it, or writes it
                continue
            again = parse_manifest(manifest.text().encode(), "a.json")
            assert again.text() == manifest.text()
            if int(hashlib.sha256(content).hexdigest()[:2], 16) < 16:
                counts["loaded" if loaded(manifest) else "not loaded"] += 1
        except BaseException:
            print(content, file=sys.stderr)
            raise
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
