"""``[metrics]`` and ``[mqtt]``: who is told how a node is."""

from __future__ import annotations

from pathlib import Path

from sonyc_ml.base.records import dataclass
from sonyc_ml.base.strict import check_above_zero

DEFAULT_TOPIC = "sonyc-ml"


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """``[metrics]``: metrics for Prometheus; ``port`` and ``socket`` are those of a daemon that served them itself."""

    port: int | None = None
    socket: Path | None = None
    textfile: Path | None = None
    every_s: float = 15.0

    def __post_init__(self) -> None:
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError(f"port must be from 1 to 65535, not {self.port}")
        check_above_zero(self, "every_s")


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """``[mqtt]``: state, lag and scores to a broker; see :mod:`sonyc_ml.node.telemetry.mqtt`."""

    host: str | None = None
    port: int = 1883
    topic: str | None = None
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    every_s: float = 60.0
    max_waiting: int = 1000

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is encrypted: by the system's certificate authorities, where no others are given."""
        return self.tls or self.ca_file is not None or self.cert_file is not None

    def topic_of(self, node: str) -> str:
        """What every topic of a node begins with: the one that is given, else one with the node's name."""
        return f"{DEFAULT_TOPIC}/{node}" if self.topic is None else self.topic

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError(f"port must be from 1 to 65535, not {self.port}")
        topic = DEFAULT_TOPIC if self.topic is None else self.topic
        if not topic or set(topic) & set("+#") or topic.startswith("/"):
            raise ValueError(f"topic must be one that can be published to, such as node/12, not {self.topic!r}")
        if (self.password_file is None) != (self.username is None):
            raise ValueError("username and password_file belong together; give both, or neither")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file belongs to a cert_file; give both, or neither")
        check_above_zero(self, "every_s", "max_waiting")
