"""What gives when recordings come faster than they are embedded."""

from __future__ import annotations

import pytest

from sonyc_ml.node.config import OverloadConfig
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.overload import CHECK_S, N_SHED, Overload
from tests.support.journals import NOON_S, Clock, an_identity

OWN_S = 0.1


def test_policies_choose_an_end(journal: Journal) -> None:
    """Only newest-first takes what was found last."""
    for policy, newest_first in (("oldest-first", False), ("newest-first", True), ("stretch-hop", False)):
        assert Overload(OverloadConfig(policy), journal).newest_first is newest_first


def test_lag_is_counted_from_when_a_recording_was_found(journal: Journal, clock: Clock) -> None:
    """An archive is not late at birth, and a clock that is set back makes no negative lag."""
    overload = Overload(OverloadConfig(), journal, clock)
    assert overload.lag_s() == 0
    journal.add([an_identity(mtime_s=0)])
    assert overload.lag_s() == 0
    clock.now_s += 61
    assert overload.lag_s() == 61
    clock.now_s = 0
    assert overload.lag_s() == 0


@pytest.mark.parametrize(
    ("lag_s", "hop_size_s"),
    [(0, None), (59.5, None), (60, 0.2), (299.5, 0.2), (300, 0.5), (899.5, 0.5), (900, 1.0), (1e6, 1.0)],
)
def test_the_hop_is_stretched_by_steps(journal: Journal, clock: Clock, lag_s: float, hop_size_s: float | None) -> None:
    """From each lag on, its hop; the model's own before the first."""
    overload = Overload(OverloadConfig("stretch-hop"), journal, clock)
    journal.add([an_identity()])
    clock.now_s += lag_s
    assert overload.hop_size_s(OWN_S) == hop_size_s


def test_the_hop_is_never_shrunk(journal: Journal, clock: Clock) -> None:
    """A model whose own hop is longer than a step keeps it."""
    overload = Overload(OverloadConfig("stretch-hop"), journal, clock)
    journal.add([an_identity()])
    clock.now_s += 301
    assert overload.hop_size_s(0.5) is None
    assert overload.hop_size_s(0.49) == 0.5


@pytest.mark.parametrize("policy", ["oldest-first", "newest-first"])
def test_other_policies_keep_the_hop(journal: Journal, clock: Clock, policy: str) -> None:
    """However late it is."""
    journal.add([an_identity()])
    clock.now_s += 1e6
    assert Overload(OverloadConfig(policy), journal, clock).hop_size_s(OWN_S) is None


def test_what_waited_too_long_is_shed(journal: Journal, clock: Clock) -> None:
    """Beyond the bound of age, and not at it, with a sentence that names the key."""
    overload = Overload(OverloadConfig(max_age_s=100.0), journal, clock)
    journal.add([an_identity("old.wav")])
    clock.now_s += 50
    journal.add([an_identity("young.wav")])
    clock.now_s += 50
    assert overload.excess() == []
    clock.now_s += CHECK_S
    ((entry, reason, detail),) = overload.excess()
    assert (entry.identity.name, reason) == ("old.wav", "too old")
    assert detail == "it had waited for 101 s, and overload.max_age_s is 100"


def test_what_is_beyond_the_newest_is_shed(journal: Journal, clock: Clock) -> None:
    """The newest stay, as many as there may be."""
    overload = Overload(OverloadConfig(max_recordings=2), journal, clock)
    for name in ("a.wav", "b.wav", "c.wav"):
        journal.add([an_identity(name)])
        clock.now_s += 1
    ((entry, reason, detail),) = overload.excess()
    assert (entry.identity.name, reason) == ("a.wav", "too many")
    assert detail == "2 newer recordings waited too (overload.max_recordings)"


def test_what_is_both_is_shed_once(journal: Journal, clock: Clock) -> None:
    """A recording that is too old and one too many is one recording."""
    overload = Overload(OverloadConfig(max_age_s=1.0, max_recordings=1), journal, clock)
    journal.add([an_identity("a.wav", NOON_S), an_identity("b.wav", NOON_S + 1)])
    clock.now_s += 2
    assert sorted((entry.identity.name, reason) for entry, reason, _ in overload.excess()) == [
        ("a.wav", "too old"),
        ("b.wav", "too old"),
    ]


def test_a_few_are_shed_at_a_time(journal: Journal, clock: Clock) -> None:
    """Of very many the rest follows at once, turn by turn, so that a recording does not wait for all of them."""
    overload = Overload(OverloadConfig(max_recordings=10), journal, clock)
    journal.add([an_identity(f"{number:04}.wav") for number in range(N_SHED + 60)])
    numbers = []
    for _ in range(3):
        excess = overload.excess()
        numbers.append(len(excess))
        for entry, reason, detail in excess:
            journal.shed(entry.identity, reason, detail)
    assert numbers == [N_SHED, 50, 0]
    assert journal.counts() == {"pending": 10, "done": 0, "quarantined": 0, "shed": N_SHED + 50}


def test_the_backlog_is_looked_at_now_and_then(journal: Journal, clock: Clock) -> None:
    """Not before each recording; and a clock that was set back stops nothing."""
    overload = Overload(OverloadConfig(max_recordings=1), journal, clock)
    assert overload.excess() == []
    journal.add([an_identity("a.wav"), an_identity("b.wav", NOON_S + 1)])
    clock.now_s += CHECK_S / 2
    assert overload.excess() == []
    clock.now_s += CHECK_S / 2
    assert len(overload.excess()) == 1
    clock.now_s -= 1e6
    assert len(overload.excess()) == 1
