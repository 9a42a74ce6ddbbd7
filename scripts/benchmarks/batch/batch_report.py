"""Raw measurements of the batch to figures with their bars, and tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scripts.benchmarks.figures import Figure, Spread, ratios, single, spread
from scripts.benchmarks.text_table import number

Raw = dict[str, Any]

PUBLISHED = {"sonyc": (91.1, 88.6, 77.5, 91.2, 93.8), "default": (88.6, 92.4, 86.2, 97.5, 86.2)}  # docs/model-card.md
ONE_CLIP = 1.3  # of 79 or 80 of a fold, in percent


def of_batch(raw: Raw) -> dict[str, Any]:
    """Figures and tables of a measurement of the batch."""
    figures = [*_speed(raw), *_probe(raw["probe"]), *_kills(raw["killed"])]
    figures += [*_scale(raw["scale"]), *_interrupts(raw["interrupted"])]
    title = f"runs: recordings of {raw['duration_s']:.1f} s, medians; formats with what the end of a batch costs"
    return {"figures": figures, "tables": {title: _runs(raw)}}


def _of(rounds: list[Raw], of_round: Callable[[Raw], float]) -> list[float]:
    return [of_round(round_) for round_ in rounds]


def _speed(raw: Raw) -> list[Figure]:
    rounds = raw["rounds"]
    two, one = _of(rounds, lambda r: r["two"]["recording_s"]), _of(rounds, lambda r: r["one"]["recording_s"])
    floor, alone = _of(rounds, lambda r: r["floor_s"]), _of(rounds, lambda r: r["floor_alone_s"])
    figures = [
        Figure("2 workers / 1, recordings a second", ratios(one, two), "x", bar=1.9, at_least=True),
        Figure("bare invoke: 2 processes / 1", ratios(alone, floor), "x"),
        Figure("a recording, 2 workers / bare invoke, 2 processes", ratios(two, floor), "x", bar=1.25),
        *_processor(rounds),
    ]
    if "original_s" in rounds[0]:
        original = _of(rounds, lambda r: r["original_s"])
        figures.append(
            Figure("original, tflite-runtime, 2 processes / 2 workers", ratios(original, two), "x", 10, at_least=True)
        )
    for name in ("formats", "small"):
        npz = _of(raw[name], lambda r: r["npz"]["with_end_s"])
        for kind in ("csv", "parquet"):
            ratio = ratios([round_[kind]["with_end_s"] for round_ in raw[name]], npz)
            figures.append(Figure(f"{kind} / npz, {raw['networks'][name]}", ratio, "x"))
    return figures


def _processor(rounds: list[Raw]) -> list[Figure]:
    """The same in time of the processors: it means something on a machine that others use as well."""
    used, floor = _of(rounds, lambda r: r["two"]["processor_s"]), _of(rounds, lambda r: r["floor_processor_s"])
    of_main_ms = spread(r["two"]["processor_of_main_s"] * 1e3 for r in rounds)
    return [
        Figure("the same in processor time", ratios(used, floor), "x"),
        Figure("of it, the main process", of_main_ms, "ms a recording"),
    ]


def _probe(probe: dict[str, Raw]) -> list[Figure]:
    """SONYC's network never saw the clips; the default bundle did, so that its own probe says only that it is there."""
    figures = []
    if "default" in probe:
        found = probe["default"]
        published = sum(PUBLISHED["default"]) / len(PUBLISHED["default"])
        figures += [
            Figure("ESC-10 to Parquet: left out", single(found["n_recordings"] - found["n_embedded"]), "", bar=0),
            Figure("probe, default bundle", single(found["mean"]), "%", round(published, 1), at_least=True),
        ]
    if "sonyc" in probe:
        found = probe["sonyc"]
        apart = [abs(a - b) for a, b in zip(found["accuracies"], PUBLISHED["sonyc"], strict=True)]
        figures += [
            Figure("probe, SONYC's network", single(found["mean"]), "%"),
            Figure("that of a fold / published, furthest apart", single(max(apart)), "points", bar=ONE_CLIP),
        ]
    return figures


def _kills(killed: dict[str, Raw]) -> list[Figure]:
    figures = []
    for kind, tally in killed.items():
        n_kills, n_batches, n_recordings = tally["n_kills"], tally["n_batches"], tally["n_recordings"]
        title = f"{n_kills} SIGKILLs, {n_recordings:,} recordings in {n_batches} batches, {kind}"
        figures += [
            Figure(f"{title}: other outputs than undisturbed", single(tally["n_different"]), "", bar=0),
            Figure(f"{title}: computed twice", single(tally["n_again"]), "", bar=0),
            Figure(f"workers outlive a killed batch, {kind}", spread(s * 1e3 for s in tally["outlived_s"]), "ms"),
        ]
    return figures


def _scale(scale: dict[str, Raw]) -> list[Figure]:
    figures = []
    for kind, found in scale.items():
        title = f"{found['n_recordings']:,} recordings, {kind}"
        figures += [
            Figure(f"{title}: growth of the main process", single(found["main_growth_mb"]), "MB", bar=20),
            Figure(f"{title}: growth of a worker", single(found["worker_growth_mb"]), "MB", bar=20),
            Figure(f"{title}: peak of the main process", single(found["peak_mb"]), "MB"),
            Figure(f"{title}: start to first event", single(found["begun_s"]), "s", bar=5),
            Figure(f"{title}: recordings a second", single(found["recordings_per_s"]), ""),
            Figure(f"{title}: last recording to end", single(found["end_s"]), "s"),
            Figure(f"{title}: run again", single(found["resume_s"]), "s", bar=15),
            Figure(f"{title}: embedded again", single(found["n_recordings"] - found["n_kept"]), "", bar=0),
        ]
    return figures


def _interrupts(found: dict[str, list[Raw]]) -> list[Figure]:
    both = [*found["early"], *found["midway"]]
    return [
        Figure("Ctrl-C: until it has stopped", spread(each["stopped_s"] for each in found["midway"]), "s", bar=2),
        Figure(
            "Ctrl-C while workers start: the same", spread(each["stopped_s"] for each in found["early"]), "s", bar=2
        ),
        Figure("Ctrl-C: finished recordings that are not there", single(sum(each["n_lost"] for each in both)), "", 0),
        Figure("Ctrl-C: does not say how to go on", single(sum(not each["says_how"] for each in both)), "", bar=0),
        Figure("Ctrl-C: shows a traceback", single(sum(each["says_too_much"] for each in both)), "", bar=0),
    ]


def _runs(raw: Raw) -> list[tuple[str, ...]]:
    """A row for each kind of run."""
    titles = ("", "ms", "a second", "x real time", "of a worker ms", "begun s", "first s", "main MB", "worker MB")
    rows: list[tuple[str, ...]] = [titles]
    network = raw["networks"]["formats"]
    rows += [_run(f"{network}, 1 worker", raw["rounds"], "one"), _run(f"{network}, 2 workers", raw["rounds"], "two")]
    for name in ("formats", "small"):
        rows += [_run(f"{raw['networks'][name]}, {kind}", raw[name], kind, "with_end_s") for kind in raw[name][0]]
    return rows


def _run(title: str, rounds: list[Raw], kind: str, what: str = "recording_s") -> tuple[str, ...]:
    def middle(key: str) -> float:
        of_rounds: Spread = spread(round_[kind][key] for round_ in rounds)
        return of_rounds.median

    each_s = middle(what)
    cells = (each_s * 1e3, 1 / each_s, middle("sound_s") / each_s, middle("work_s") * 1e3)
    rest = (middle("begun_s"), middle("first_s"), middle("main_mb"), middle("worker_mb"))
    return (title, *(number(value) if value else "" for value in (*cells, *rest)))
