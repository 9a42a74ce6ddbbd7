"""``[serve]``: what the daemon's configuration says of the service beside it; the daemon itself needs none of it."""

from __future__ import annotations

from pathlib import Path

from sonyc_ml.base.records import dataclass


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """``[serve]``: the node's page and predictions over HTTP; see :mod:`sonyc_ml.web.server`."""

    port: int = 8080
    socket: Path | None = None
    predict: bool = True
    workers: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError(f"port must be from 0, any that is free, to 65535, not {self.port}")
        if not self.workers > 0:
            raise ValueError(f"workers must be above 0, not {self.workers}; for no predictions, say predict = false")
