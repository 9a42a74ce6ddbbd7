"""Which partition of a dataset a recording belongs to."""

from __future__ import annotations

from urllib.parse import quote

from sonyc_ml.base.human import date_of, seconds_of
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError

KEYS = ("day", "node")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Partition:
    """What a dataset is partitioned by; names a recording's partition as Hive does: ``node=pole_12/day=2026-11-21``.

    Parameters
    ----------
    keys : tuple of {"day", "node"}
        What the dataset is partitioned by, the outermost first. A day is one in UTC; a node is the first folder of a
        recording's name.
    """

    keys: tuple[str, ...] = ("day",)

    def __call__(self, name: str, start_time: str) -> str:
        """The partition of a recording with this name and this start in ISO 8601; empty where there is but one."""
        values = {"day": lambda: _day(start_time), "node": lambda: _node(name)}
        return "/".join(f"{key}={values[key]()}" for key in self.keys)


def parse_keys(text: str) -> tuple[str, ...]:
    """``day``, ``node,day`` or ``none`` to the keys.

    Raises
    ------
    ConfigError
    """
    keys = () if text == "none" else tuple(key.strip() for key in text.split(","))
    if len(set(keys)) != len(keys) or not set(keys) <= set(KEYS):
        raise ConfigError(f"--partition takes day, node, both as in node,day, or none, not {text!r}")
    return keys


def _day(start_time: str) -> str:
    if not start_time:
        return UNKNOWN
    # In a zone of its own, the first or the last day that there is may have no date in UTC.
    return date_of(seconds_of(start_time)).date().isoformat()


def _node(name: str) -> str:
    folder, slash, _ = name.partition("/")
    return quote(folder, safe=" ", errors="surrogateescape") if slash else UNKNOWN
