"""How rollouts stand, by the node's records alone: what somebody should look at, and what is as it should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sonyc_ml.base.human import iso
from sonyc_ml.bundles.rollout.kept import KeptVersions
from sonyc_ml.bundles.rollout.record import BACK, EXPIRED, FAILED, FILE_NAME, REFUSED, RUNS, WAITING, changed_record
from sonyc_ml.node.rollout.facts import MAX_SILENCE_S, RolloutFacts, read_facts

NOW_S = 1_800_000_000.0
HOUR_S = 3600.0
WELL = RolloutFacts(
    "tiny", "1.1.0", RUNS, "1.1.0 runs", iso(NOW_S - HOUR_S), iso(NOW_S - HOUR_S), iso(NOW_S + 30 * 86400), 3
)


@pytest.mark.parametrize("word", [RUNS, WAITING])
def test_what_is_as_it_should_be_is_no_trouble(word: str) -> None:
    assert replace(WELL, state=word).trouble(NOW_S) == ""
    assert RolloutFacts("tiny").trouble(NOW_S) == ""


@pytest.mark.parametrize("word", [REFUSED, EXPIRED, BACK])
def test_what_a_person_has_to_decide_is(word: str) -> None:
    """At once, in the words of the record."""
    assert replace(WELL, state=word, detail="why").trouble(NOW_S) == "why"


def test_a_bundle_that_cannot_be_had_is_trouble_at_once() -> None:
    """The rollout could be read, so the store is there."""
    assert replace(WELL, state=FAILED, detail="no tiny.tflite").trouble(NOW_S) == "no tiny.tflite"


def test_a_store_that_is_away_is_trouble_after_two_days() -> None:
    """A night without it is none; of one that never gave a rollout it is told at once."""
    away = replace(WELL, state=FAILED, detail="away")
    assert replace(away, valid=iso(NOW_S - MAX_SILENCE_S + HOUR_S)).trouble(NOW_S) == ""
    assert replace(away, valid=iso(NOW_S - MAX_SILENCE_S - HOUR_S)).trouble(NOW_S) == "away"
    assert replace(away, valid="").trouble(NOW_S) == "away"


def test_a_rollout_that_nobody_renews() -> None:
    """It ends at a moment that is known before."""
    ending = replace(WELL, expires=iso(NOW_S))
    assert ending.trouble(NOW_S - 1) == ""
    assert ending.trouble(NOW_S) == f"rollout 3 of tiny held until {iso(NOW_S)}, and no newer one has come"


def test_nobody_looks() -> None:
    """A timer that does not run says nothing by itself."""
    silent = replace(WELL, looked=iso(NOW_S - 3 * 86400))
    assert silent.trouble(NOW_S) == "nobody has looked for a new tiny for 3 d; does sonyc-ml-pull.timer run?"


def test_the_records_of_a_node(tmp_path: Path) -> None:
    """Of each bundle that was looked for; one that is damaged is told, and hides no other."""
    assert list(read_facts(tmp_path)) == []
    kept = KeptVersions(tmp_path / "bundles" / "tiny", "tiny")
    kept.switch("a" * 64, "1.1.0", NOW_S)
    assert list(read_facts(tmp_path)) == []  # nobody has looked yet
    with changed_record(kept.folder) as record:
        record.looked = record.valid = iso(NOW_S)
        record.says(RUNS, "switched to tiny 1.1.0")
    damaged = tmp_path / "bundles" / "street"
    damaged.mkdir()
    (damaged / FILE_NAME).write_text("{")
    street, tiny = read_facts(tmp_path)
    assert (street.bundle, street.state) == ("street", FAILED)
    assert f"{FILE_NAME} is not JSON" in street.detail
    assert (tiny.version, tiny.state, tiny.on_trial, tiny.looked) == ("1.1.0", RUNS, True, iso(NOW_S))
