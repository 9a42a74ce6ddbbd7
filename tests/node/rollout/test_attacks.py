"""What somebody who holds the store, or stands between, can have a node do: nothing; and the node says so.

The attacks are those that The Update Framework lists (https://theupdateframework.io/docs/security/).
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sonyc_ml.base.human import iso
from sonyc_ml.bundles.integrity import NAMESPACE as OF_MANIFESTS
from sonyc_ml.bundles.integrity import make_signature
from sonyc_ml.bundles.rollout.document import MAX_ROLLOUT_BYTES, Target
from sonyc_ml.bundles.rollout.record import EXPIRED, FAILED, REFUSED, RUNS
from tests.support.rollouts import NOW_S, Fleet, hours


def copy_store(fleet: Fleet, name: str) -> Path:
    """What the store holds now, as somebody may have recorded it."""
    return Path(shutil.copytree(fleet.store_folder, fleet.folder / name))


def replay(fleet: Fleet, recorded: Path) -> None:
    shutil.rmtree(fleet.store_folder)
    shutil.copytree(recorded, fleet.store_folder)


def test_what_is_signed_is_taken(fleet: Fleet) -> None:
    """The control of all tests here: without an attack, the node switches."""
    fleet.roll_out("1.1.0")
    assert fleet.look() == RUNS
    assert fleet.running == "1.1.0"
    assert fleet.look() == RUNS
    assert len(fleet.proved) == 1


# Arbitrary software


def test_a_rollout_by_another_key_is_refused(fleet: Fleet) -> None:
    """Nothing runs that no trusted key has signed."""
    rollout = fleet.roll_out("1.1.0")
    fleet.put(replace(rollout, sequence=2), "theirs")
    assert fleet.look() == REFUSED
    assert "is not signed by a key of" in fleet.record.detail
    assert fleet.kept.current == ""


def test_a_bundle_by_another_key_is_refused(fleet: Fleet, keys: Path, versions: dict[str, Path]) -> None:
    """A rollout that is signed does not stand for the manifest's own signature."""
    path = Path(shutil.copytree(versions["1.1.0"].parent, fleet.folder / "theirs")) / "tiny.tflite"
    make_signature(path.with_suffix(".json"), keys / "theirs")
    fleet.versions = {**versions, "1.1.0": path}
    fleet.roll_out("1.1.0")
    assert fleet.look() == REFUSED
    assert "is no signature over" in fleet.record.detail
    assert (fleet.kept.current, fleet.proved) == ("", [])


def test_a_signature_over_something_else_is_none(fleet: Fleet) -> None:
    """What was signed as a manifest is no rollout, whatever it says."""
    rollout = fleet.roll_out("1.1.0")
    fleet.put(replace(rollout, sequence=2), namespace=OF_MANIFESTS)
    assert fleet.look() == REFUSED


def test_a_changed_file_is_refused(fleet: Fleet) -> None:
    """One byte of the network is another: its digest is in the manifest, whose digest is in the rollout."""
    fleet.roll_out("1.1.0")
    network = fleet.part("1.1.0", "tiny.tflite")
    content = bytearray(network.read_bytes())
    content[100] ^= 1
    network.write_bytes(content)
    assert fleet.look() == REFUSED
    assert "is not the file that was signed" in fleet.record.detail
    assert not fleet.folders()


# Rollback


def test_an_old_rollout_is_not_taken_again(fleet: Fleet) -> None:
    """What was signed once, with its signature and all files, does not bring back an old version."""
    fleet.roll_out("1.1.0")
    assert fleet.look() == RUNS
    recorded = copy_store(fleet, "recorded")
    fleet.roll_out("1.2.0")
    assert fleet.look() == RUNS
    replay(fleet, recorded)
    assert fleet.look() == REFUSED
    assert "the store offers rollout 1 of tiny, and 2 was seen before" in fleet.record.detail
    assert fleet.running == "1.2.0"


def test_an_old_rollout_counts_as_seen_though_its_bundle_was_not_taken(fleet: Fleet) -> None:
    """The number is remembered before anything is done."""
    fleet.roll_out("1.1.0")
    recorded = copy_store(fleet, "recorded")
    fleet.roll_out("1.2.0")
    fleet.part("1.2.0", "tiny.tflite").unlink()
    assert fleet.look() == FAILED
    replay(fleet, recorded)
    assert fleet.look() == REFUSED
    assert fleet.kept.current == ""


def test_an_older_version_needs_a_word(fleet: Fleet) -> None:
    """A rollout of an older version is taken where it says that nodes go back, and by no mistake."""
    rollout = fleet.roll_out("1.2.0")
    fleet.look()
    older = replace(rollout, sequence=2, target=fleet.roll_out("1.1.0", back=True).target)
    fleet.put(replace(older, back=False))
    assert fleet.look() == REFUSED
    assert "1.1.0 is older than 1.2.0, which was accepted here" in fleet.record.detail
    fleet.put(replace(older, back=True, sequence=3))
    assert (fleet.look(), fleet.running) == (RUNS, "1.1.0")


def test_two_rollouts_of_one_number_are_not_both_taken(fleet: Fleet) -> None:
    """Which of two counts would be the store's choice."""
    rollout = fleet.roll_out("1.1.0")
    fleet.look()
    fleet.put(replace(rollout, share=0.0, back=True))
    assert fleet.look() == REFUSED
    assert "two different rollouts" in fleet.record.detail


# Freeze


def test_a_rollout_that_has_expired_is_not_acted_on(fleet: Fleet) -> None:
    """Who keeps new rollouts from a node cannot do so unnoticed for longer than one holds; what runs, runs on."""
    fleet.roll_out("1.1.0", valid_s=hours(24))
    fleet.look()
    fleet.clock.now_s += hours(23)
    assert fleet.look() == RUNS
    fleet.clock.now_s += hours(1)
    assert fleet.look() == EXPIRED
    assert "renew it" in fleet.record.detail
    assert fleet.running == "1.1.0"
    fleet.roll_out()
    assert fleet.look() == RUNS


def test_a_clock_that_is_behind_does_not_revive_a_rollout(fleet: Fleet) -> None:
    """A node without a clock of its own wakes up in 1970; it has seen later times in signed rollouts."""
    rollout = fleet.roll_out("1.1.0", valid_s=hours(1))
    fleet.put(replace(rollout, made=iso(NOW_S + hours(2)), expires=iso(NOW_S + hours(3)), sequence=2))
    fleet.clock.now_s = 0.0
    assert fleet.look() == RUNS
    fleet.put(replace(rollout, sequence=1))
    assert fleet.look() == REFUSED


def test_a_store_that_is_gone_is_said(fleet: Fleet) -> None:
    """And the last rollout that held is on record."""
    fleet.roll_out("1.1.0")
    fleet.look()
    valid = fleet.record.valid
    shutil.rmtree(fleet.store_folder)
    fleet.clock.now_s += hours(5)
    assert fleet.look() == FAILED
    assert (fleet.record.valid, fleet.record.looked) == (valid, iso(fleet.clock.now_s))
    assert fleet.running == "1.1.0"


# Mix and match


@pytest.mark.parametrize("name", ["tiny.json", "tiny.json.sig", "tiny.tflite", "tiny.golden.npz"])
def test_files_of_two_versions_are_never_put_together(fleet: Fleet, name: str) -> None:
    """Each of them is signed; together they are nothing that anybody has signed."""
    fleet.roll_out("1.2.0")
    fleet.roll_out("1.1.0", back=True)
    shutil.copy(fleet.part("1.2.0", name), fleet.part("1.1.0", name))
    assert fleet.look() == REFUSED
    assert (fleet.kept.current, fleet.proved) == ("", [])


def test_a_signature_of_one_rollout_is_none_of_another(fleet: Fleet) -> None:
    """The file and its signature are two files; so the node reads both once more, and no more."""
    fleet.roll_out("1.1.0")
    signature = (fleet.store_folder / "rollout.json.sig").read_bytes()
    fleet.roll_out("1.2.0")
    (fleet.store_folder / "rollout.json.sig").write_bytes(signature)
    assert fleet.look() == REFUSED


def test_who_reads_between_file_and_signature_reads_again(fleet: Fleet) -> None:
    """An honest author writes one after the other."""
    fleet.roll_out("1.1.0")
    recorded = (fleet.store_folder / "rollout.json.sig").read_bytes()
    fleet.roll_out("1.2.0")
    newest = (fleet.store_folder / "rollout.json.sig").read_bytes()
    (fleet.store_folder / "rollout.json.sig").write_bytes(recorded)
    assert fleet.pull(sleep=lambda _seconds: (fleet.store_folder / "rollout.json.sig").write_bytes(newest)).look()
    assert fleet.running == "1.2.0"


# Endless data


@pytest.mark.parametrize("name", ["rollout.json", "rollout.json.sig"])
def test_a_file_that_is_too_large_is_not_read(fleet: Fleet, name: str) -> None:
    """Ten gigabytes (of nothing: a sparse file) in place of a rollout cost nothing."""
    fleet.roll_out("1.1.0")
    os.truncate(fleet.store_folder / name, 10 << 30)
    assert fleet.look() == REFUSED
    assert "has more than" in fleet.record.detail


@pytest.mark.parametrize("by", [-1, 1])
def test_a_part_of_another_size_is_refused(fleet: Fleet, by: int) -> None:
    """Sizes are signed; what is longer is not read on."""
    fleet.roll_out("1.1.0")
    network = fleet.part("1.1.0", "tiny.tflite")
    os.truncate(network, network.stat().st_size + by)
    assert fleet.look() == REFUSED
    assert ("more than" if by > 0 else "fewer than") in fleet.record.detail


class Endless(BaseHTTPRequestHandler):
    """Answers each request without ever coming to an end, and says no size."""

    n_sent = 0

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        try:
            while Endless.n_sent < 1 << 28:
                self.wfile.write(b" " * 65536)
                Endless.n_sent += 65536
        except OSError:  # nobody listens any more
            pass

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def endless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/tiny"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_without_end_is_hung_up_on(fleet: Fleet, endless: str) -> None:
    """It is read until there is one byte too many."""
    pytest.importorskip("aiohttp", reason="fsspec reads HTTP with it")
    fleet.address = endless
    assert fleet.look() == REFUSED
    assert f"is larger than {MAX_ROLLOUT_BYTES:,} bytes" in fleet.record.detail
    assert Endless.n_sent < 1 << 27


# Wrong node


def test_a_rollout_of_another_bundle_is_refused(fleet: Fleet) -> None:
    """What was signed for another folder of the store, with the same key, is not taken here."""
    rollout = fleet.roll_out("1.1.0")
    sizes = {f"other{name.removeprefix('tiny')}": size for name, size in rollout.target.sizes.items()}
    other = Target(rollout.target.version, rollout.target.manifest, sizes)
    fleet.put(replace(rollout, name="other", target=other, sequence=2))
    assert fleet.look() == REFUSED
    assert "rolls out other, and this node runs tiny" in fleet.record.detail
    assert fleet.record.sequence == 0


def test_a_manifest_of_another_bundle_is_refused(fleet: Fleet) -> None:
    """A rollout whose version is not the manifest's was put together wrongly."""
    rollout = fleet.roll_out("1.1.0")
    wrong = replace(rollout.target, version="1.2.0")
    shutil.copytree(fleet.store_folder / rollout.target.folder, fleet.store_folder / wrong.folder)
    fleet.put(replace(rollout, target=wrong, sequence=2))
    assert fleet.look() == REFUSED
    assert "holds tiny 1.1.0, not tiny 1.2.0, as the rollout says" in fleet.record.detail


def test_a_node_that_is_not_named_takes_nothing(fleet: Fleet) -> None:
    """Its name is the node's own, and the patterns are signed."""
    fleet.roll_out("1.1.0", nodes=("pole_2", "roof_*"))
    assert (fleet.look(), fleet.kept.current) == (RUNS, "")
    fleet.node = "roof_7"
    assert (fleet.look(), fleet.running) == (RUNS, "1.1.0")
