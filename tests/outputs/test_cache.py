"""The same sound asked again of the same bundle is not computed again; nothing else is ever taken for it."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sonyc_ml
from sonyc_ml import OutputCache
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.errors import RecordingError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.output import Output
from tests.conftest import examples, write_recording
from tests.support import layers, networks

MEGABYTE = 1 << 20


def noise(seed: int = 0, n: int = 16000) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32)


def counted(model: Model) -> Callable[[], int]:
    """How often the model's extractor has computed features since now."""
    stream, times = model.extractor.stream, []

    def counting(*arguments: Any, **keywords: Any) -> Any:
        times.append(1)
        return stream(*arguments, **keywords)

    model.extractor.stream = counting  # type: ignore[method-assign]
    return lambda: len(times)


def same(a: Output, b: Output) -> bool:
    """Whether two outputs hold the same, to the last bit."""
    kinds = a.by_kind()
    is_like = np.array_equal(a.timestamps, b.timestamps) and kinds.keys() == b.by_kind().keys()
    return a.provenance == b.provenance and is_like and all(np.array_equal(kinds[k], b.by_kind()[k]) for k in kinds)


# --- samples ----------------------------------------------------------------------------------------------------------


def test_the_same_sound_is_computed_once(tiny_bundle: Path) -> None:
    """Asked again, in whatever array it comes, a sound gives the same bits without being computed."""
    model = load_model(tiny_bundle, cache_bytes=MEGABYTE)
    n_computed = counted(model)
    y = noise()
    first = model.get_outputs(y, 8000)
    for again in (y, y.copy(), np.repeat(y, 2)[::2], np.asarray(y.astype(np.float64), np.float32)):
        found = model.get_outputs(again, 8000)
        assert found.keys() == first.keys()
        assert all(np.array_equal(found[name], first[name]) for name in first)
    assert np.array_equal(model.get_embedding(y, 8000), first["embedding"])
    assert np.array_equal(model.get_embedding(y, 8000, hop_size=0.1), first["embedding"])  # its own
    assert n_computed() == 1
    assert model.cache is not None
    assert (model.cache.hits, model.cache.misses, len(model.cache)) == (6, 1, 1)
    plain = load_model(tiny_bundle).get_outputs(y, 8000)
    assert all(np.array_equal(plain[name], first[name]) for name in first)


def test_another_sound_is_another(tiny_bundle: Path) -> None:
    """Other samples, fewer of them, another rate or hop are not taken for what is there."""
    model = load_model(tiny_bundle, cache_bytes=MEGABYTE)
    y = noise()
    changed = y.copy()
    changed[9000] += 1e-6
    calls = [(y, 8000, None), (changed, 8000, None), (y[:-1], 8000, None), (y, 16000, None), (y, 8000, 0.2)]
    plain = load_model(tiny_bundle)
    for call in calls:
        found, wanted = model.get_outputs(*call), plain.get_outputs(*call)
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert model.cache is not None
    assert (model.cache.hits, model.cache.misses) == (0, len(calls))


def test_models_do_not_take_each_others(tiny_bundle: Path, tmp_path: Path) -> None:
    """In one cache for several models, another bundle, parameter or kernel has entries of its own; the same has not."""
    other = tmp_path / "other.tflite"
    other.write_bytes(networks.dense((1, 64, 51, 1), 4))
    make_bundle(other, input_kind="log_mel")
    cache, y = OutputCache(MEGABYTE), noise()
    models = [
        load_model(tiny_bundle, cache=cache),
        load_model(other, cache=cache),
        load_model(other, cache=cache, res_type="soxr_hq", target_sr=8000),
        load_model(other, cache=cache, reference_kernels=True),
        load_model(other, cache=cache, batch_size=1, num_threads=2),
    ]
    for model in models:
        model.get_outputs(y, 8000)
    assert (cache.hits, cache.misses, len(cache)) == (0, 5, 5)
    load_model(other, cache=cache).get_outputs(y, 8000)
    assert (cache.hits, cache.misses) == (1, 5)


def test_what_is_given_may_be_written_to(tiny_bundle: Path) -> None:
    """Arrays are the caller's own: who writes to them, changes what nobody else gets, on a hit as on a miss."""
    model = load_model(tiny_bundle, cache_bytes=MEGABYTE)
    y = noise()
    wanted = load_model(tiny_bundle).get_embedding(y, 8000)
    for _ in range(3):
        found = model.get_embedding(y, 8000)
        assert np.array_equal(found, wanted)
        found[:] = 7


def test_nothing_is_kept_unasked(tiny_bundle: Path) -> None:
    """Without a cache everything is computed, and the golden vector is computed before there is one."""
    model = load_model(tiny_bundle)
    assert model.cache is None
    n_computed = counted(model)
    for _ in range(2):
        model.get_outputs(noise(), 8000)
    assert n_computed() == 2
    kept = load_model(tiny_bundle, cache_bytes=MEGABYTE, golden="always").cache
    assert kept is not None
    assert (len(kept), kept.misses) == (0, 0)


def test_a_mistake_is_none_the_less_one(tiny_bundle: Path) -> None:
    """What is refused without a cache is refused with one, each time."""
    model = load_model(tiny_bundle, cache_bytes=MEGABYTE)
    for _ in range(2):
        with pytest.raises(ValueError, match="hop"):
            model.get_outputs(noise(), 8000, -1.0)
    assert model.cache is not None
    assert len(model.cache) == 0


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_a_size_is_more_than_nothing(tiny_bundle: Path, max_bytes: int) -> None:
    """No size and a negative one are mistakes, and so are a cache and a size together."""
    with pytest.raises(ValueError, match="max_bytes must be more than 0"):
        load_model(tiny_bundle, cache_bytes=max_bytes)
    with pytest.raises(ValueError, match="give one of them"):
        load_model(tiny_bundle, cache_bytes=1, cache=OutputCache(1))


# --- recordings -------------------------------------------------------------------------------------------------------


def test_a_recording_is_computed_once(tiny_bundle: Path, tmp_path: Path) -> None:
    """A recording embedded again, from memory's point of view, is the one that was embedded, with all that is known."""
    path = write_recording(tmp_path / "street_20261121T115430Z.wav", 3)
    model, plain = load_model(tiny_bundle, cache_bytes=MEGABYTE), load_model(tiny_bundle)
    n_computed = counted(model)
    outputs = [model.embed_file(path), model.embed_file(path)]
    assert n_computed() == 1
    assert all(same(output, plain.embed_file(path)) for output in outputs)


def test_a_copy_has_its_own_provenance(tiny_bundle: Path, tmp_path: Path) -> None:
    """A copy of a recording under another name is not computed, and its output has its own name, time and start."""
    path = write_recording(tmp_path / "street_20261121T115430Z.wav", 3)
    other = tmp_path / "street_20261120T000000Z.wav"
    shutil.copyfile(path, other)
    model, plain = load_model(tiny_bundle, cache_bytes=MEGABYTE), load_model(tiny_bundle)
    n_computed = counted(model)
    model.embed_file(path)
    found = model.embed_file(other, name="b/street_20261120T000000Z.wav")
    assert n_computed() == 1
    assert same(found, plain.embed_file(other, name="b/street_20261120T000000Z.wav"))
    assert found.provenance.start_time.startswith("2026-11-20")
    model.process_file(other, tmp_path / "out.npz")
    assert n_computed() == 1
    (written,) = sonyc_ml.iter_outputs(tmp_path / "out.npz")
    assert same(written, plain.embed_file(other))


def test_detections_are_kept_with_their_rules(tmp_path: Path) -> None:
    """What was detected is kept with the rest of an output, and other rules have entries of their own."""
    path = write_recording(tmp_path / "a.wav", 3)
    bundle = tmp_path / "models" / "a.tflite"
    bundle.parent.mkdir()
    bundle.write_bytes(layers.scoring((1, 64, 51, 1), 2))
    make_bundle(bundle, input_kind="log_mel", outputs={"scores": 0}, labels=("dog", "siren"))
    cache = OutputCache(MEGABYTE)
    found = []
    for _ in range(2):
        for threshold in (0.0, 1.0):
            rules = {"threshold": threshold}
            output = load_model(bundle, cache=cache, detections=rules).embed_file(path)
            assert same(output, load_model(bundle, detections=rules).embed_file(path))
            found.append(output.detections)
    assert (cache.hits, cache.misses) == (2, 2)
    assert found[:2] == found[2:]
    assert [bool(detections) for detections in found[:2]] == [True, False]


def test_a_recording_that_changes_is_computed(tiny_bundle: Path, tmp_path: Path) -> None:
    """A file of the same name with other content is computed, and one that cannot be read is refused as ever."""
    path = write_recording(tmp_path / "a.wav", 3)
    model = load_model(tiny_bundle, cache_bytes=MEGABYTE)
    first = model.embed_file(path)
    write_recording(path, 3, seed=1)
    second = model.embed_file(path)
    assert model.cache is not None
    assert (model.cache.hits, model.cache.misses) == (0, 2)
    assert same(second, load_model(tiny_bundle).embed_file(path))
    assert first.provenance.recording_sha256 != second.provenance.recording_sha256
    path.write_bytes(b"no sound")
    with pytest.raises(RecordingError):
        model.embed_file(path)


# --- the bound --------------------------------------------------------------------------------------------------------


def rows(n_bytes: int) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
    return {"embedding": np.zeros(n_bytes, np.uint8)}


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    """A full cache forgets what nobody has asked for, and keeps what somebody has."""
    cache = OutputCache(10_000)
    for name in (b"a", b"b", b"c"):
        cache.put(name, rows(2000))
    assert cache.get(b"a") is not None
    cache.put(b"d", rows(2000))
    assert {name: cache.get(name) is not None for name in (b"a", b"b", b"c", b"d")} == {
        b"a": True,
        b"b": False,
        b"c": True,
        b"d": True,
    }
    cache.put(b"e", rows(20_000))  # too large, and pushes nothing out
    assert (len(cache), cache.get(b"e")) == (3, None)
    cache.clear()
    assert (len(cache), cache.n_bytes) == (0, 0)


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6000)), max_size=60), st.integers(1, 20_000))
def test_the_bound_is_kept(puts: list[tuple[int, int]], max_bytes: int) -> None:
    """Whatever is put in, no more bytes are taken than allowed, and the count of them is right."""
    cache = OutputCache(max_bytes)
    for number, n_bytes in puts:
        cache.put(bytes([number]), rows(n_bytes))
        assert 0 <= cache.n_bytes <= max_bytes
    sizes = [found["embedding"].nbytes for number in range(10) if (found := cache.get(bytes([number]))) is not None]
    assert len(sizes) == len(cache)
    assert sum(sizes) <= cache.n_bytes <= sum(sizes) + 2000 * len(sizes)


def test_threads_share_one() -> None:
    """Many threads at once leave it within its bound, with every call counted and every answer whole."""
    cache, wrong = OutputCache(50_000), []

    def work(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 30, 400).tolist():
            found = cache.get(bytes([number]))
            if found is None:
                cache.put(bytes([number]), {"embedding": np.full(1000 + 50 * number, number, np.uint8)})
            elif found["embedding"].tolist() != [number] * (1000 + 50 * number):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.hits + cache.misses == 8 * 400
    assert cache.n_bytes <= 50_000


def test_the_fields_of_an_output_are_all_copied(tiny_bundle: Path, tmp_path: Path) -> None:
    """No array of an output that was kept is the same as the one that was given."""
    path = write_recording(tmp_path / "a.wav", 3)
    model = load_model(tiny_bundle, cache_bytes=MEGABYTE)
    first, second = model.embed_file(path), model.embed_file(path)
    for entry in dataclasses.fields(Output):
        a, b = getattr(first, entry.name), getattr(second, entry.name)
        assert not (isinstance(a, np.ndarray) and np.shares_memory(a, b)), entry.name


# --- several threads --------------------------------------------------------------------------------------------------


def at_once(model: Model, ys: list[np.ndarray[Any, np.dtype[np.float32]]]) -> list[Any]:
    """What several threads, each with a model of its own and the cache of one, are given; or what they raise."""
    found: list[Any] = [None] * len(ys)
    models = [load_model(model.bundle.path, cache=model.cache) for _ in ys]
    for other in models:
        other.extractor = model.extractor
    begin = threading.Barrier(len(ys))

    def ask(i: int) -> None:
        begin.wait()
        try:
            found[i] = models[i].get_outputs(ys[i], 8000)["embedding"]
        except RuntimeError as error:
            found[i] = error

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(ys))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize(("max_bytes", "n_times"), [(MEGABYTE, 1), (1, 4)])
def test_what_is_asked_for_at_once_is_computed_once(tiny_bundle: Path, max_bytes: int, n_times: int) -> None:
    """The others wait for it; what is too large to be kept, each computes."""
    model, y = load_model(tiny_bundle, cache_bytes=max_bytes), noise(n=400_000)
    expected = load_model(tiny_bundle).get_embedding(y, 8000)
    n_computed = counted(model)
    assert all(np.array_equal(found, expected) for found in at_once(model, [y] * 4))
    assert n_computed() == n_times
    assert model.cache is not None
    assert (model.cache.hits, model.cache.misses) == (4 - n_times, n_times)


def test_who_gives_up_does_not_hold_the_others(tiny_bundle: Path) -> None:
    """What one thread has begun and not ended is computed by the others; who no longer waits is let go."""
    cache, has_begun, may_end = OutputCache(MEGABYTE), threading.Event(), threading.Event()

    def fail() -> Any:
        has_begun.set()
        may_end.wait()
        raise RuntimeError("given up")

    def first() -> None:
        with pytest.raises(RuntimeError, match="given up"):
            cache.computed(b"key", fail)

    thread = threading.Thread(target=first)
    thread.start()
    has_begun.wait()

    def not_wanted() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        cache.computed(b"key", dict, not_wanted)
    found = {"a": np.zeros(3)}
    assert cache.computed(b"key", lambda: found, may_end.set) is found
    thread.join()
    assert cache.get(b"key") is not None
