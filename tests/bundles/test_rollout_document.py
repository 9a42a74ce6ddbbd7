"""``rollout.json``: what it may say, which nodes it chooses, and how one follows another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sonyc_ml.base.human import seconds_of
from sonyc_ml.bundles.integrity import MAX_FILE_SIZE
from sonyc_ml.bundles.rollout.document import MAX_BUNDLE_BYTES, MAX_FILES, Rollout, Target, parse_rollout
from sonyc_ml.bundles.rollout.writing import Wishes, next_rollout
from sonyc_ml.errors import BundleError, ConfigError

NOW_S = seconds_of("2026-11-21T00:00:00Z")
NAMES = [f"pole_{number}" for number in range(1000)]


def sizes(**more: int) -> dict[str, int]:
    """Of the files that every bundle has."""
    return {"tiny.json": 900, "tiny.json.sig": 300, "tiny.tflite": 5000, **more}


def a_target(version: str = "1.1.0", digit: str = "a", **more: int) -> Target:
    return Target(version, digit * 64, sizes(**more))


def a_rollout(**changes: Any) -> Rollout:
    """As a store has it."""
    made = next_rollout("tiny", a_target(), None, Wishes(), NOW_S)
    return replace(made, **changes)


def test_what_is_written_is_read_back() -> None:
    """With another version for the other nodes too."""
    rollout = a_rollout(nodes=("pole_*",), share=0.5, otherwise=a_target("1.0.0", "b"), back=True)
    assert parse_rollout(rollout.text(), "rollout.json") == rollout
    assert rollout.target.folder == "1.1.0-aaaaaaaaaaaa"
    assert rollout.target.n_bytes == 6200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "1.x"}, "version must be like '1.0.0'"),
        ({"manifest": "A" * 64}, "manifest must be a SHA-256"),
        ({"sizes": sizes(**{f"{n}.bin": 1 for n in range(MAX_FILES)})}, f"has at most {MAX_FILES}"),
        ({"sizes": sizes(**{"../outside": 1})}, r"sizes\.\.\./outside must be a file in the bundle's own folder"),
        ({"sizes": sizes(a=-1)}, r"sizes\.a is -1 bytes"),
        ({"sizes": sizes(a=MAX_FILE_SIZE + 1)}, "which no file of a bundle has"),
        (
            {"sizes": sizes(**{str(n): MAX_FILE_SIZE for n in range(1 + MAX_BUNDLE_BYTES // MAX_FILE_SIZE)})},
            "which no bundle of a node has",
        ),
        ({"sizes": {"tiny.json": 1, "tiny.json.sig": 1}}, "sizes lacks a file of tiny"),
    ],
)
def test_a_target_that_no_bundle_is(change: dict[str, Any], said: str) -> None:
    """A node reads none of its files; the message names the key, and the store."""
    table = json.loads(a_rollout().text())
    table["target"] |= change
    with pytest.raises(BundleError, match=rf"^s3://b/rollout\.json: .*{said}"):
        parse_rollout(json.dumps(table).encode(), "s3://b/rollout.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema_version must be 1, not 2; a newer sonyc-ml may know it"),
        ({"name": "a/b"}, "name must be that of a bundle"),
        ({"sequence": 0}, "sequence must be a number above 0"),
        ({"sequence": 1 << 53}, "sequence must be a number above 0"),
        ({"share": 1.01}, "share must be from 0 to 1"),
        ({"made": "yesterday"}, "made must be a time in ISO 8601, not 'yesterday'"),
        ({"expires": ""}, "expires must be a time"),
        ({"expires": "2026-11-20T00:00:00Z"}, "expires must be later than made"),
        ({"not_before": "soon"}, "not_before must be a time"),
        ({"otherwise": {"version": "1", "manifest": "b" * 64, "sizes": {}}}, "version must be like"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_rollout_that_cannot_be(change: dict[str, Any], said: str) -> None:
    """Each key is checked, and what nobody knows is refused."""
    table = json.loads(a_rollout().text()) | change
    with pytest.raises(BundleError, match=said):
        parse_rollout(json.dumps(table).encode(), "rollout.json")


def test_a_share_of_nodes_grows_and_never_changes() -> None:
    """Who takes part at a small share does at each larger one; of another version, others begin."""
    chosen = [{name for name in NAMES if a_rollout(share=share).chooses(name)} for share in (0.0, 0.1, 0.5, 1.0)]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3] == set(NAMES)
    assert 60 < len(chosen[1]) < 140
    assert 430 < len(chosen[2]) < 570
    other = a_rollout(share=0.1, target=a_target("1.2.0"))
    assert {name for name in NAMES if other.chooses(name)} != chosen[1]


def test_nodes_are_chosen_by_patterns() -> None:
    """As a shell's, with the case of letters."""
    rollout = a_rollout(nodes=("pole_1?", "roof"))
    assert [name for name in (*NAMES[:20], "roof", "Roof") if rollout.chooses(name)] == [*NAMES[10:20], "roof"]


def test_a_time_to_switch() -> None:
    """Before and after it, nodes say what they wait for."""
    rollout = a_rollout(not_before="2026-11-21T01:00:00Z", not_after="2026-11-21T05:00:00Z")
    assert rollout.waits(NOW_S) == "nodes switch from 2026-11-21T01:00:00Z on"
    assert rollout.waits(NOW_S + 3600) == ""
    assert rollout.waits(NOW_S + 5 * 3600) == "nodes have switched until 2026-11-21T05:00:00Z, and do not any more"
    assert a_rollout().waits(NOW_S) == ""


def test_the_next_rollout_keeps_what_nobody_changes() -> None:
    """Of the same bundle; another begins anew, and names for the other nodes what all of them ran."""
    first = next_rollout("tiny", a_target("1.0.0", "b"), None, Wishes(), NOW_S)
    half = next_rollout("tiny", a_target(), first, Wishes(share=0.5, nodes=["pole_*"]), NOW_S)
    assert (half.sequence, half.otherwise) == (2, first.target)
    more = next_rollout("tiny", None, half, Wishes(share=0.9), NOW_S)
    assert (more.sequence, more.share, more.nodes, more.otherwise) == (3, 0.9, ("pole_*",), first.target)
    stopped = next_rollout("tiny", None, more, Wishes(stop=True), NOW_S)
    assert (stopped.share, stopped.back, stopped.otherwise) == (0.0, True, first.target)
    assert next_rollout("tiny", None, stopped, Wishes(), NOW_S).back
    assert not next_rollout("tiny", None, stopped, Wishes(share=0.5), NOW_S).back
    other = next_rollout("tiny", a_target("1.2.0", "c"), half, Wishes(), NOW_S)
    assert (other.share, other.nodes, other.otherwise) == (1.0, (), first.target)  # 1.1.0 was never on all nodes


def test_what_does_not_follow_is_refused() -> None:
    """Each with what to do."""
    first = next_rollout("tiny", a_target(), None, Wishes(), NOW_S)
    with pytest.raises(ConfigError, match="no rollout in the store yet: name the bundle"):
        next_rollout("tiny", None, None, Wishes(), NOW_S)
    with pytest.raises(ConfigError, match="each bundle has a folder of its own"):
        next_rollout("other", a_target(), first, Wishes(), NOW_S)
    with pytest.raises(ConfigError, match=r"1\.0\.0 is older than 1\.1\.0, .*give --back"):
        next_rollout("tiny", a_target("1.0.0", "b"), first, Wishes(), NOW_S)
    assert next_rollout("tiny", a_target("1.0.0", "b"), first, Wishes(back=True), NOW_S).back
    with pytest.raises(ConfigError, match="no rollout can be made of this: share must be from 0 to 1"):
        next_rollout("tiny", None, first, Wishes(share=2.0), NOW_S)
