"""A recorder faster than the network: an hour of it by a clock that is moved, and a quarter of a minute for real."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from scripts.fault_suite.memory_growth import resident_mb
from scripts.fault_suite.rig import Node, Options, Row, record, sound
from sonyc_ml.base.identity import Identity
from sonyc_ml.node.config import Config, ModelConfig, OutputConfig, OverloadConfig, SpoolConfig
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.overload import CHECK_S
from sonyc_ml.node.running_bundles import RunningBundles
from sonyc_ml.node.worker import Worker
from sonyc_ml.outputs.files import find_output, read_provenance
from sonyc_ml.outputs.output import Output

BEGIN_S = 1_700_000_000.0
HOUR_S, EVERY_S = 3600.0, 10.0
OWN_HOP_S = 0.1
GROWTH_MB = 2.0
SECONDS = 15.0  # of the real thing
N_TIMES = 3


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of a recorder.

    Attributes
    ----------
    name : str
    overload : OverloadConfig
    cost_s : float
        What a recording of 10 s costs at the network's own hop (in seconds).
    lag_s : float
        What no recording may wait longer than, by the policy (in seconds).
    reasons : frozenset of str
        Why recordings are shed.
    hops_s : tuple of float
        The hops of the outputs, in the order in which they are first used (in seconds).
    """

    name: str
    overload: OverloadConfig
    cost_s: float
    lag_s: float
    reasons: frozenset[str]
    hops_s: tuple[float, ...] = (OWN_HOP_S,)


OLDEST = OverloadConfig("oldest-first", max_age_s=600.0, max_recordings=50)
NEWEST = replace(OLDEST, policy="newest-first")  # of three, two wait: 30 of them for 450 s
STRETCH = OverloadConfig("stretch-hop")
HOURS = (
    Hour("oldest-first, at most 50", OLDEST, 30.0, 500.0, frozenset({"too many"})),
    Hour("oldest-first, at most 600 s", replace(OLDEST, max_recordings=500), 30.0, 600.0, frozenset({"too old"})),
    Hour("newest-first, at most 30", replace(NEWEST, max_recordings=30), 30.0, 450.0, frozenset({"too many"})),
    Hour("newest-first, at most 600 s", replace(NEWEST, max_recordings=500), 30.0, 600.0, frozenset({"too old"})),
    Hour("stretch-hop", STRETCH, 30.0, 300.0, frozenset(), (0.1, 0.2, 0.5)),
    Hour("stretch-hop, 8 times too fast", STRETCH, 80.0, 900.0, frozenset(), (0.1, 0.2, 0.5, 1.0)),
)


def run(options: Options) -> list[Row]:
    """Every policy by a clock that is moved, and the daemon by the one on the wall."""
    wanted = HOURS[options.seed % 3 :: 3] if options.is_brief else HOURS
    logger = logging.getLogger("sonyc_ml")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of everything that it gives up
    try:
        hours = [_hour(options.folder / str(i), options.bundle, hour) for i, hour in enumerate(wanted)]
    finally:
        logger.setLevel(level)
    return [*hours, _for_real(Node(options.folder / "real", options.bundle, _REAL))]


# By a clock that is moved


@dataclass(slots=True)
class Simulation:
    """A worker whose clock the work moves, and what was seen of it.

    Attributes
    ----------
    now_s : float
        Its clock.
    n_recorded : int
    lags_s : list of float
        How long the oldest recording had waited at each step.
    ages_s : list of float
        How long each had waited that was embedded.
    hops_s : list of float
        Of each output.
    rss_mb : list of float
    """

    folder: Path
    hour: Hour
    now_s: float = BEGIN_S
    n_recorded: int = 0
    lags_s: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    hops_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)

    def record_until_now(self) -> list[Identity]:
        """Make the recordings whose time has come."""
        found = []
        while BEGIN_S + self.n_recorded * EVERY_S <= min(self.now_s, BEGIN_S + HOUR_S - 1):
            path = self.folder / f"{self.n_recorded:03}.wav"
            path.write_bytes(SOUND)
            made_s = BEGIN_S + self.n_recorded * EVERY_S
            os.utime(path, (made_s, made_s))
            found.append(Identity(path.name, len(SOUND), path.stat().st_mtime_ns))
            self.n_recorded += 1
        return found

    def saw(self, output: Output) -> None:
        """An output was made: it took its time, the less the larger its hop."""
        hop_s = output.provenance.hop_size_s
        self.hops_s.append(hop_s)
        self.ages_s.append(self.now_s - output.provenance.recording_mtime_ns * 1e-9)
        self.now_s += self.hour.cost_s * OWN_HOP_S / hop_s


SOUND = sound()


def _hour(folder: Path, bundle: Path, hour: Hour) -> Row:
    row = Row(f"{hour.cost_s / EVERY_S:.0f} times too fast for an hour, {hour.name}")
    recordings = folder / "recordings"
    recordings.mkdir(parents=True)
    config = Config(
        SpoolConfig(recordings), (ModelConfig(bundle),), OutputConfig(folder / "embeddings"), overload=hour.overload
    )
    node = Simulation(recordings, hour)
    journal = Journal(config.state_folder, clock=lambda: node.now_s)
    try:
        bundles = RunningBundles(config.model, config.output)
        _watch_outputs(bundles, node)
        worker = Worker(
            recordings,
            journal,
            bundles,
            lambda _: False,
            output=config.output,
            overload=config.overload,
            clock=lambda: node.now_s,
        )
        worker.start()
        _live(node, worker, journal)
        row.counts = _counted(node, journal)
        row.problems = _lag_problems(node) + _account_problems(node, journal, config.output.folder)
    finally:
        journal.close()
    return row


def _watch_outputs(bundles: RunningBundles, node: Simulation) -> None:
    for bundle in bundles:
        embed_file = bundle.model.embed_file

        def embed(*arguments: Any, _embed_file: Any = embed_file, **keywords: Any) -> Output:
            output: Output = _embed_file(*arguments, **keywords)
            node.saw(output)
            return output

        bundle.model.embed_file = embed  # type: ignore[method-assign]


def _live(node: Simulation, worker: Worker, journal: Journal) -> None:
    """The turns of an hour, as the daemon makes them."""
    while node.now_s < BEGIN_S + HOUR_S:
        journal.add(node.record_until_now())
        worker.shed_excess()
        oldest = journal.oldest_pending()
        node.lags_s.append(node.now_s - oldest[0].identity.mtime_s if oldest else 0.0)
        if not worker.step():
            node.now_s = BEGIN_S + node.n_recorded * EVERY_S
        node.rss_mb.append(resident_mb(os.getpid()))


def _counted(node: Simulation, journal: Journal) -> dict[str, Any]:
    states = {state: n for state, n in journal.counts().items() if n}
    hops = {f"{hop_s:g}": n for hop_s, n in Counter(node.hops_s).items()}
    return {
        "recorded": node.n_recorded,
        **states,
        "reasons": journal.reasons()["shed"],
        "longest wait in s": round(max(node.lags_s)),
        "of one embedded": f"{max(node.ages_s):.0f}",
        "hops": hops,
        "memory MB": f"{_growth_mb(node):+.1f}",
    }


def _growth_mb(node: Simulation) -> float:
    """From a sixth of the hour on to its end."""
    return node.rss_mb[-1] - node.rss_mb[len(node.rss_mb) // 6]


def _lag_problems(node: Simulation) -> list[str]:
    """What waited longer than the policy allows, give or take a step and a look at the bounds."""
    hour, problems = node.hour, []
    slack_s = hour.cost_s + EVERY_S + CHECK_S
    if max(node.lags_s) > hour.lag_s + slack_s:
        problems.append(f"one waited for {max(node.lags_s):.0f} s, not {hour.lag_s:.0f} and a step")
    if hour.overload.policy == "newest-first" and max(node.ages_s) > slack_s:
        problems.append(f"the newest was embedded after {max(node.ages_s):.0f} s")
    if _growth_mb(node) > GROWTH_MB:
        problems.append(f"memory grew by {_growth_mb(node):.1f} MB")
    return problems


def _account_problems(node: Simulation, journal: Journal, outputs: Path) -> list[str]:
    """Recordings without a place in the account, sheds without a reason, and hops that are not what was used."""
    entries = list(journal.entries())
    states = Counter(entry.state for entry in entries)
    problems = []
    if len(entries) != node.n_recorded or states["done"] + states["shed"] + states["pending"] != node.n_recorded:
        problems.append(f"{node.n_recorded} were recorded, and the journal has {dict(states)}")
    reasons = {entry.reason for entry in entries if entry.state == "shed"}
    if reasons != node.hour.reasons or any(entry.state == "shed" and not entry.detail for entry in entries):
        problems.append(f"shed for {sorted(reasons)}, not {sorted(node.hour.reasons)}")
    if tuple(dict.fromkeys(node.hops_s)) != node.hour.hops_s:
        problems.append(f"the hops went {list(dict.fromkeys(node.hops_s))}, not {list(node.hour.hops_s)}")
    for entry in entries:
        path = find_output(entry.identity, outputs, "npz")
        provenance = read_provenance(path) if path else None
        if (entry.state == "done") != (provenance is not None):
            problems.append(
                f"{entry.identity.name} is {entry.state}, its output {'there' if provenance else 'not there'}"
            )
        elif provenance is not None and provenance.hop_size_s != entry.hop_size_s:
            problems.append(
                f"{entry.identity.name}: a hop of {entry.hop_size_s} s, in its output {provenance.hop_size_s}"
            )
    if len(node.hops_s) != states["done"]:
        problems.append(f"{len(node.hops_s)} were embedded, {states['done']} are done")
    return problems


# For real

MAX_WAITING, MAX_AGE_S = 40, 4.0
N_WARM_UP, N_AT_ONCE = 20, 4
_REAL = {"overload": f"max_age_s = {MAX_AGE_S}\nmax_recordings = {MAX_WAITING}"}


def _for_real(node: Node) -> Row:
    """The daemon, fed three times faster than it embeds: it gives up what it must, and never starts again."""
    row = Row(f"the daemon, {N_TIMES} times too fast for {SECONDS:g} s")
    content = sound(30.0)
    try:
        process = node.start()
        every_s = _seconds_each(node, content) / N_TIMES
        n, lags_s, rss_mb = _feed(node, content, every_s)
        node.wait_until_done()
        counts, growth_mb = node.states(), rss_mb[-1] - rss_mb[len(rss_mb) // 3]
        row.counts = {"recorded": n, **counts, "every ms": round(every_s * 1e3)}
        row.counts |= {"longest wait in s": round(max(lags_s), 1), "memory MB": f"{growth_mb:+.1f}"}
        row.problems = node.problems()
        if sum(counts.values()) != n:
            row.problems.append(f"{n} were recorded, the journal has {sum(counts.values())}")
        if not counts["shed (too many)"] + counts["shed (too old)"]:
            row.problems.append("nothing was shed: it was not too fast")
        if max(lags_s) > MAX_AGE_S + 1.5 * CHECK_S:
            row.problems.append(f"one waited for {max(lags_s):.1f} s, not {MAX_AGE_S:g}")
        if growth_mb > GROWTH_MB:
            row.problems.append(f"memory grew by {growth_mb:.1f} MB")
        if node.log().count("watching") != 1 or process.poll() is not None or node.end():
            row.problems.append("it ended, or started again")
    except RuntimeError as error:
        row.problems.append(str(error))
    finally:
        node.kill()
    return row


def _seconds_each(node: Node, content: bytes) -> float:
    """How long the daemon takes for one of these recordings (in seconds)."""
    start_s = time.monotonic()
    for first in range(0, N_WARM_UP, N_AT_ONCE):  # on a slow machine, the last of more at once would be too old
        record(node.recordings, (f"before-{i:02}.wav" for i in range(first, first + N_AT_ONCE)), content)
        node.wait_for(partial(_has_done, node, first + N_AT_ONCE), "the first recordings")
    return (time.monotonic() - start_s) / N_WARM_UP


def _has_done(node: Node, n: int) -> bool:
    return bool(node.ask(Journal.counts, {}).get("done", 0) == n)


def _feed(node: Node, content: bytes, every_s: float) -> tuple[int, list[float], list[float]]:
    """Record for a while; return how many there are, and the lag (in seconds) and the memory (in MB) now and then."""
    lags_s, rss_mb, start_s, n = [], [], time.monotonic(), 0
    while (elapsed_s := time.monotonic() - start_s) < SECONDS:
        if elapsed_s < n * every_s:
            time.sleep(n * every_s - elapsed_s)
        record(node.recordings, [f"{n:05}.wav"], content)
        n += 1
        if n % 20 == 0:
            rss_mb.append(resident_mb(node.pid))
            lags_s.append(node.ask(_lag_s, 0.0))
    return n + N_WARM_UP, lags_s, rss_mb


def _lag_s(journal: Journal) -> float:
    oldest = journal.oldest_pending()
    return time.time() - oldest[0].found_s if oldest else 0.0
