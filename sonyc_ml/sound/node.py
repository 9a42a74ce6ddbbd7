"""Which node heard something, and where it stands: ``[node]`` of a configuration, kept in each output."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from sonyc_ml.base.records import dataclass, field

MAX_NAME, MAX_TEXT = 63, 200  # characters; a name is also a folder, a level of an MQTT topic, and a label of metrics
NAME = re.compile(rf"[A-Za-z][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")
DEPTH_M, HEIGHT_M = -11_000.0, 9_000.0  # of the deepest sea and the highest mountain
CONFIGURED, GUANO = "configuration", "guano"  # who gave a position
RANGES = {"latitude": (-90.0, 90.0, "degrees"), "longitude": (-180.0, 180.0, "degrees")} | {
    "elevation_m": (DEPTH_M, HEIGHT_M, "m above the sea")
}


def host_name() -> str:
    """The name of this machine, as far as it can be a node's name.

    Returns
    -------
    str
        Characters that a name cannot hold are hyphens. One that begins with a digit has ``node-`` before it.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", os.uname().nodename).strip("-._")
    return (safe if safe[:1].isalpha() else f"node-{safe}")[:MAX_NAME].rstrip("-._")


@dataclass(frozen=True, slots=True)
class Node:
    """``[node]``: what a node is called, and where it stands.

    Attributes
    ----------
    name : str
        The host's name where none is given. It begins with a letter, so that no reader of the archive takes ``007``
        for the number 7, and holds letters, digits, dots, hyphens and underscores.
    latitude, longitude : float or None
        In degrees of WGS 84, north and east above 0.
    elevation_m : float or None
        Above the sea (in m).
    microphone : str
        What it hears with.
    time_zone : str
        Of its place, by its name in the IANA's database; start times are read by ``[recordings]`` alone.
    owner, note : str
        Whose it is, and what else is to be known.

    Raises
    ------
    ValueError
        Says which key, and what it takes.
    """

    name: str = field(default_factory=host_name, metadata={"machine": "its host name"})
    latitude: float | None = None
    longitude: float | None = None
    elevation_m: float | None = None
    microphone: str = ""
    time_zone: str = ""
    owner: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"name must begin with a letter and hold only letters from a to z, digits, '.', '_' and '-', at most"
                f" {MAX_NAME}, because it names a folder and an MQTT topic too; not {self.name[:MAX_TEXT]!r}"
            )
        for key, (lowest, highest, unit) in RANGES.items():
            value = getattr(self, key)
            if value is not None and not lowest <= value <= highest:  # nan is in no range
                raise ValueError(f"{key} must be from {lowest:g} to {highest:g} {unit}, not {value:g}")
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude belong together; give both, or neither")
        for key in ("microphone", "owner", "note"):
            text = getattr(self, key)
            if len(text) > MAX_TEXT or not text.isprintable():
                raise ValueError(f"{key} must be one line of at most {MAX_TEXT} characters: every output holds it")
        self._check_zone()

    def _check_zone(self) -> None:
        if not self.time_zone:
            return
        from sonyc_ml.sound.start_time.clock import named_zone  # noqa: PLC0415  most nodes name none

        try:
            named_zone(self.time_zone)
        except ValueError as error:
            raise ValueError(f"time_zone: {error}") from error

    def record(self, heard: str = "") -> str:
        """What an output keeps of the node, as a JSON object.

        Parameters
        ----------
        heard : str
            A record of where the recording itself says that it was made; see :func:`record_of_position`. What the
            configuration says wins.

        Returns
        -------
        str
            What is known alone, by the names of the configuration; with a position, ``position_source`` says who
            gave it: ``configuration`` or ``guano``.
        """
        own = {key: value for key, value in dataclasses.asdict(self).items() if value not in (None, "")}
        if "latitude" in own:
            own["position_source"] = CONFIGURED
        elif heard:
            own = {**json.loads(heard), **own}
        return json.dumps({key: own[key] for key in KEYS if key in own}, ensure_ascii=False)


KEYS = (*(entry.name for entry in dataclasses.fields(Node)), "position_source")


def record_of_position(latitude: float, longitude: float, elevation_m: float | None) -> str:
    """The record of a recording whose GUANO metadata say where it was made; in degrees, and in m above the sea."""
    known = {"latitude": latitude, "longitude": longitude, "elevation_m": elevation_m, "position_source": GUANO}
    return json.dumps({key: value for key, value in known.items() if value is not None})


def read_record(text: str) -> Mapping[str, Any]:
    """A record as it is kept in outputs and facts; empty where there is none, or none that can be read."""
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
