"""Raw measurements of the road to figures with their bars, and tables."""

from __future__ import annotations

from typing import Any

from scripts.benchmarks.figures import Figure, Spread, ratios, single, spread
from scripts.benchmarks.path import variants
from scripts.benchmarks.path.peak_memory import LONG_S, N_FIRST, N_LONG
from scripts.benchmarks.text_table import low_to_high, number

STAGES = ("read", "hash", "resample", "features", "invoke", "write")

Raw = dict[str, Any]


def of_road(raw: Raw) -> dict[str, Any]:
    """Figures and tables of a measurement of the road."""
    figures = [*_ratios(raw), *_log_mel(raw), *_starts(raw), *_memory(raw)]
    title = f"variants: a recording of {raw['duration_s']:.1f} s (floor: the bare invoke of its windows), medians"
    return {"figures": figures, "tables": {title: _variants(raw), "stages, ms: medians": _stages(raw)}}


def _times(raw: Raw, name: str, what: str = "road_ms") -> list[float]:
    return [round_[name][what] for round_ in raw["rounds"]]


def _names(raw: Raw) -> list[str]:
    return list(raw["rounds"][0])


def _ratios(raw: Raw) -> list[Figure]:
    ours = _times(raw, variants.OURS)
    floor = _times(raw, variants.OURS, "floor_ms")
    figures = [Figure("whole road / bare invoke (LiteRT, 1 thread)", ratios(ours, floor), "x", bar=1.25)]
    for name, bar in ((variants.ORIGINAL, 10), (variants.ORIGINAL_LITERT, None)):
        if name in _names(raw):
            figures.append(Figure(f"{name} / ours", ratios(_times(raw, name), ours), "x", bar, at_least=True))
    return figures


def _log_mel(raw: Raw) -> list[Figure]:
    rounds = raw["log_mel"]
    if not rounds:
        return []
    ratio = ratios((r["librosa_ms"] for r in rounds), (r["ours_ms"] for r in rounds))
    return [
        Figure("log-mel: librosa per window / ours", ratio, "x", bar=14, at_least=True),
        Figure("log-mel: ours", spread(r["ours_ms"] for r in rounds), "ms"),
        Figure("log-mel: librosa per window", spread(r["librosa_ms"] for r in rounds), "ms"),
        Figure("log-mel: greatest difference", single(max(r["difference_db"] for r in rounds)), "dB", bar=1e-4),
    ]


def _starts(raw: Raw) -> list[Figure]:
    beyond = spread(r[variants.OURS]["elapsed_ms"] - r["floor"]["elapsed_ms"] for r in raw["starts"])
    return [
        Figure("watch: start to first output, beyond bare invoke", beyond, "ms", bar=200),
        Figure("watch: start to first output", spread(r[variants.OURS]["elapsed_ms"] for r in raw["starts"]), "ms"),
        Figure("sonyc-ml --help", spread(r["help"] for r in raw["helps"]), "ms", bar=60),
        Figure("a Python that does nothing", spread(r["bare"] for r in raw["helps"]), "ms"),
        Figure("sonyc-ml --help: modules of numpy imported", single(raw["numpy_modules_of_help"]), "", bar=0),
    ]


def _memory(raw: Raw) -> list[Figure]:
    watch, long = raw["watch_mb"], raw["long_recording"]
    figures = [Figure(f"watch: peak memory, {N_FIRST} recordings", single(watch[f"peak_{N_FIRST}"]), "MB", bar=70)]
    if f"rss_{N_LONG}" in watch:
        growth_mb = watch[f"rss_{N_LONG}"] - watch[f"rss_{N_FIRST}"]
        figures += [
            Figure(f"watch: growth, recordings {N_FIRST} to {N_LONG:,}", single(growth_mb), "MB", bar=3),
            Figure(f"watch: peak memory, {N_LONG:,} recordings", single(watch[f"peak_{N_LONG}"]), "MB"),
        ]
    if long:
        hours = LONG_S // 3600
        figures += [
            Figure(f"embed: peak memory, {hours} h at 48 kHz, hop 1 s", single(long["peak_mb"]), "MB", bar=150),
            Figure(f"embed: {hours} h, faster than real time", single(long["times_real_time"]), "x"),
        ]
    return figures


def _variants(raw: Raw) -> list[tuple[str, ...]]:
    """A row for each variant; `cosine` is the lowest of a window's embedding, to that of the first row."""
    titles = ("", "ms", "low – high", "floor ms", "x floor", "x ours", "cosine", "peak MB", "first output ms")
    return [titles, *(_variant(raw, name) for name in _names(raw))]


def _variant(raw: Raw, name: str) -> tuple[str, ...]:
    times, ours = _times(raw, name), _times(raw, variants.OURS)
    floor = _times(raw, name, "floor_ms") if "floor_ms" in raw["rounds"][0][name] else []
    return (
        name,
        number(spread(times).median),
        low_to_high(spread(times)),
        number(spread(floor).median) if floor else "",
        number(ratios(times, floor).median) if floor else "",
        number(ratios(times, ours).median),
        f"{raw['agreement'][name]:.5f}",
        number(_of_starts(raw, name, "peak_mb").median),
        number(_of_starts(raw, name, "elapsed_ms").median),
    )


def _of_starts(raw: Raw, name: str, what: str) -> Spread:
    return spread(round_[name][what] for round_ in raw["starts"] if name in round_)


def _stages(raw: Raw) -> list[tuple[str, ...]]:
    """A row for each variant; ours are timed one by one, so that their sum differs a little from the whole."""
    rows: list[tuple[str, ...]] = [("", *STAGES, "sum", "whole")]
    for name in _names(raw):
        ours = name in raw["stages"][0]
        rounds = [round_[name]["stages"] for round_ in raw["stages" if ours else "rounds"]]
        medians = [spread(stages.get(stage, 0.0) for stages in rounds).median for stage in STAGES]
        whole = spread(_times(raw, name)).median
        cells = [number(value) if value else "" for value in (*medians, sum(medians), whole)]
        rows.append((name, *cells))
    return rows
