"""Worker: a spool that notes when it hands out each recording."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.serving import serve, settings
from sonyc_ml.node.spool.spool import Spool


def main() -> None:
    """Serve ``listen``."""
    spool = Spool(Path(settings()["folder"]))
    list(spool.found())  # watches the folder from now on

    def listen(n_recordings: int, limit_s: float) -> dict[str, Any]:
        """Note the times of so many recordings, as far as they come within the time limit."""
        times: dict[str, Any] = {}
        end_s = time.monotonic() + limit_s
        while len(times) < n_recordings and time.monotonic() < end_s:
            spool.wait(end_s - time.monotonic())
            for identity in spool.found():
                times.setdefault(identity.name, time.monotonic_ns())
        return times

    try:
        serve({}, {"listen": listen})
    finally:
        spool.close()


if __name__ == "__main__":
    main()
