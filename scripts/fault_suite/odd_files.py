"""Files that are no sound, hardly sound, or sound of a rare kind: each comes to an end, and none vanishes."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from scripts.fault_suite import odd_kinds
from scripts.fault_suite.odd_kinds import LONGEST
from scripts.fault_suite.rig import WITHOUT_CAPABILITIES, Node, Options, Row, as_root, has, record, sound, trial
from sonyc_ml.node.journal.journal import Journal
from tests.support.read_mutations import damaged

N_QUICK, N_LONG, N_BATCH = 400, 40_000, 500
ABANDONED_S = 2.0
N_KINDS = 40
N_WAITING = 100
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
        "fmt behind the sound.wav",
        "huge.wav",
        "infinite.wav",
        "loud.wav",  # each sample is a number, and what is computed of them is none
        "no channels.wav",
        "no fmt.wav",
        "not a number.wav",
        "page.wav",
        "rf64, streaming.wav",
        "text.wav",
        "thousands of chunks.wav",
        "to a folder.wav",
        "too many chunks.wav",
        "unknown format.wav",
        "zeros.wav",
    },
    "unfinished": {
        "cut in the header.wav",
        "endless chunk.wav",
        "flac, cut.wav",
        "magic alone.wav",
        "ogg, cut.wav",
        "one byte.wav",
    },
    "empty": {
        "empty.wav",
        "header alone.wav",
    },
    "salvaged": {
        "aiff, truncated.wav",
        "growing, header of 0.wav",
        "header of 0.wav",
        "more than promised.wav",
        "rf64, truncated.wav",
        "sound twice.wav",
        "truncated in a frame.wav",
        "truncated.wav",
        "w64, truncated.wav",
    },
    "output name": {LONGEST},
}


def run(options: Options) -> list[Row]:
    """Every kind, with and without salvage; and damage by chance."""
    rows = [_kinds(options.folder / word, options.bundle, word) for word in ("salvage", "quarantine")]
    rows.append(_pauses(Node(options.folder / "pauses", options.bundle)))
    n = options.number(N_QUICK, N_LONG)
    return [*rows, _mutations(options.folder / "mutations", options.bundle, n, options.seed)]


def _kinds(folder: Path, bundle: Path, unfinished: str) -> Row:
    contents, specials = odd_kinds.contents(), odd_kinds.specials()
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


# Damage by chance


def _mutations(folder: Path, bundle: Path, n: int, seed: int) -> Row:
    """Damage good recordings in many ways, a batch at a time."""
    row = Row(f"{n:,} mutated files, seed {seed}")
    node = Node(folder, bundle, {"recordings": "abandoned_s = 0.3"})
    chance = random.Random(seed)
    originals, n_made = list(odd_kinds.written().values()), 0
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
