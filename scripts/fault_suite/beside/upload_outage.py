"""A link that is down for a week: a day's outputs every day, none of them shed, then all sent at the link's speed."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scripts.fault_suite.rig import Options, Row
from tests.support.stores import folder_store
from tests.support.uploads import UploadingNode, write_outputs

N_OUTPUTS, N_LONG_OUTPUTS = 1_400, 60_480  # a recording every ten seconds, for a week
N_DAYS = 7
GROWTH_MB = 40.0  # of a part's rows and what its outputs say of themselves; not of how many wait
LINK_BYTES_PER_S = 4_000_000
FIRST = datetime(2026, 11, 21, tzinfo=UTC)


def run(options: Options) -> list[Row]:
    """Packed by the day, and as they are."""
    n = options.number(N_OUTPUTS, N_LONG_OUTPUTS)
    return [_run(options.folder / pack, pack, n) for pack in ("day", "none")]


def _run(folder: Path, pack: str, n_outputs: int) -> Row:
    row = Row(f"a week without a link, {n_outputs:,} outputs (pack = {pack})")
    with folder_store(folder) as store:
        assert store.folder is not None
        away = store.folder.with_name("away")
        store.folder.rename(away)
        more = f'pack = "{pack}"\nlate_s = 0.0\nmax_bytes_per_s = {LINK_BYTES_PER_S}.0'
        node = UploadingNode(folder / "node", store, more)
        for day in range(N_DAYS):
            first = FIRST + timedelta(days=day)
            write_outputs(node.outputs / f"{first:%Y-%m-%d}", n_outputs // N_DAYS, first, 86400 * N_DAYS / n_outputs)
        now = (FIRST + timedelta(days=N_DAYS)).timestamp()
        with closing(node.uploader(threading.Event(), clock=lambda: now)) as uploader:
            uploader.turn()
            before, rss_mb = uploader.facts(), resident_mb()
            for _ in range(20):  # it goes on trying
                uploader.turn()
            growth_mb = resident_mb() - rss_mb
            away.rename(store.folder)
            begun_s = time.monotonic()
            while uploader.ledger.next_waiting() is not None or uploader.ledger.groups():
                uploader.turn()
                time.sleep(0.2)
            took_s = time.monotonic() - begun_s
            after = uploader.facts()
        sent_bytes = sum(len(content) for content in store.objects().values())
    row.counts = {
        "waiting before": before.waiting,
        "waiting after": after.waiting,
        "objects": len(list(store.folder.rglob("*.*"))),
        "lost": after.lost,
        "MB": f"{sent_bytes / 1e6:.1f}",
        "s": f"{took_s:.1f}",
        "share of the link's speed": f"{sent_bytes / took_s / LINK_BYTES_PER_S:.2f}",
        "memory grew by MB": f"{growth_mb:.1f}",
    }
    expected = n_outputs // N_DAYS * N_DAYS
    if (before.waiting, after.waiting, after.lost) != (expected, 0, 0):
        row.problems.append(f"{before.waiting} of {expected} waited, {after.waiting} still do, {after.lost} were lost")
    if growth_mb > GROWTH_MB:
        row.problems.append(f"memory grew by {growth_mb:.0f} MB while nothing could be sent")
    return row


def resident_mb() -> float:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
