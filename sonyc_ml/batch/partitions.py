"""Which partition of a dataset a recording belongs to."""

from __future__ import annotations

from urllib.parse import quote

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.archive.layout import UNKNOWN, date_in

KEYS = ("day", "node", "date")


@dataclass(frozen=True, slots=True)
class Partition:
    """What a dataset is partitioned by; names a recording's partition as Hive does: ``node=pole_12/day=2026-11-21``.

    Parameters
    ----------
    keys : tuple of {"day", "node", "date"}
        What the dataset is partitioned by, the outermost first. A day is one in UTC, and a date the same by the name
        that an archive of nodes has for it; a node is the first folder of a recording's name.
    """

    keys: tuple[str, ...] = ("day",)

    def __call__(self, name: str, start_time: str) -> str:
        """The partition of a recording with this name and this start in ISO 8601; empty where there is but one."""
        values = {key: lambda: date_in(start_time) for key in ("day", "date")} | {"node": lambda: _node(name)}
        return "/".join(f"{key}={values[key]()}" for key in self.keys)


def parse_keys(text: str) -> tuple[str, ...]:
    """``day``, ``node,date`` or ``none`` to the keys.

    Raises
    ------
    ConfigError
    """
    keys = () if text == "none" else tuple(key.strip() for key in text.split(","))
    if len(set(keys)) != len(keys) or not set(keys) <= set(KEYS) or {"day", "date"} <= set(keys):
        raise ConfigError(f"--partition takes day, node, date, two of them as in node,date, or none, not {text!r}")
    return keys


def _node(name: str) -> str:
    folder, slash, _ = name.partition("/")
    return quote(folder, safe=" ", errors="surrogateescape") if slash else UNKNOWN
