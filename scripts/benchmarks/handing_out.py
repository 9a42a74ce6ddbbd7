"""Worker: a spool that notes when it hands out each recording."""

from __future__ import annotations

import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

from serving import serve, settings

from sonyc_ml.spool import Spool


def main() -> None:
    """Serve ``listen``."""
    spool = Spool(Path(settings()["folder"]))
    spool.start()

    def listen(n_recordings: int, limit_s: float) -> dict[str, Any]:
        """Note the times of so many recordings, as far as they come within the time limit."""
        timer = threading.Timer(limit_s, spool.stop)
        timer.start()
        times = {identity.path.name: time.monotonic_ns() for identity in islice(spool.recordings(), n_recordings)}
        timer.cancel()
        return times

    try:
        serve({}, {"listen": listen})
    finally:
        spool.close()


if __name__ == "__main__":
    main()
