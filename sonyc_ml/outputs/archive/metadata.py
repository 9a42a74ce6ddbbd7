"""What a Parquet part says of itself, beside its rows: one JSON object under the key ``sonyc_ml`` of its footer.

::

    {"format_version": 1, "labels": [...], "common": {...}, "recordings": {"n_windows": [...], ...}}

``recordings`` has a list for each field of a :class:`~sonyc_ml.outputs.output.Provenance`, in the order of the rows;
what all recordings have in common is in ``common`` once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import repeat
from typing import Any

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.levels import LEVEL_HEAD, level_head
from sonyc_ml.outputs.output import Output, Provenance, fields_of

METADATA_KEY = "sonyc_ml"
FORMAT_VERSION = 1  # of the columns and of this metadata; a reader refuses what is newer


class NewerPartError(ConfigError):
    """A part of a schema that this version does not know."""


@dataclass(frozen=True, slots=True)
class PartDescription:
    """What a part holds, by its metadata.

    Attributes
    ----------
    recordings : tuple of tuple of (Provenance, int)
        In the order of their rows, with how many windows each has.
    labels : tuple of str
        Of the scores; empty where they have none.
    label_numbers : tuple of int
        Where the scores of all classes are not kept, which class each label is of.
    level_heads : mapping
        Of recordings, by name and time, what of their sound levels is of the whole; empty where there are none.
    """

    recordings: tuple[tuple[Provenance, int], ...]
    labels: tuple[str, ...]
    label_numbers: tuple[int, ...] = ()
    level_heads: Mapping[tuple[str, int], str] = field(default_factory=dict)


def metadata_of(output: Output) -> dict[str, Any]:
    """What a part of one output says of itself."""
    columns = {name: [value] for name, value in (asdict(output.provenance) | level_head(output)).items()}
    metadata = {
        "format_version": FORMAT_VERSION,
        "labels": output.labels,
        "common": {},
        "recordings": {"n_windows": [len(output.timestamps)], **columns},
    }
    return metadata | ({"label_numbers": output.label_numbers} if output.label_numbers else {})


def metadata_in(description: PartDescription, number: int) -> dict[str, Any]:
    """What a part of one output of another part says of itself; see :func:`metadata_of`."""
    made, n_windows = description.recordings[number]
    columns = {name: [value] for name, value in asdict(made).items()}
    if head := description.level_heads.get((made.recording, made.recording_mtime_ns)):
        columns[LEVEL_HEAD] = [head]
    metadata = {
        "format_version": FORMAT_VERSION,
        "labels": description.labels,
        "common": {},
        "recordings": {"n_windows": [n_windows], **columns},
    }
    return metadata | ({"label_numbers": description.label_numbers} if description.label_numbers else {})


def joined(metadatas: Iterable[Mapping[str, Any]]) -> str:
    """The metadata of several outputs as one JSON text: what all have in common once, the rest in columns."""
    columns: defaultdict[str, list[Any]] = defaultdict(list)
    same: dict[Any, Any] = {}  # thousands of outputs name one bundle
    metadata: Mapping[str, Any] = {}
    named: dict[int, str] = {}  # of outputs that name only the classes that occur in them
    for metadata in metadatas:
        named |= zip(metadata.get("label_numbers", ()), metadata["labels"], strict=False)
        for name, (value,) in metadata["recordings"].items():
            columns[name].append(same.setdefault((type(value), value), value))
    common = {name: column[0] for name, column in columns.items() if column.count(column[0]) == len(column)}
    common.pop("n_windows", None)
    rest = {name: column for name, column in columns.items() if name not in common}
    whole = {**metadata, "common": common, "recordings": rest}
    if named:
        numbers = sorted(named)
        whole |= {"labels": [named[number] for number in numbers], "label_numbers": numbers}
    return json.dumps(whole)


def description_of(text: str | bytes, where: object) -> PartDescription:
    """What a part holds, by its metadata.

    Parameters
    ----------
    text : str or bytes
        The JSON under :data:`METADATA_KEY`.
    where : object
        Names the part in errors.

    Raises
    ------
    NewerPartError
        A later version wrote it.
    ValueError, KeyError, TypeError, IndexError
        It is damaged.
    """
    metadata = json.loads(text)
    version = metadata["format_version"]
    if version > FORMAT_VERSION:
        raise NewerPartError(
            f"{where} has version {version} of the schema of parts, and this sonyc_ml reads versions up to "
            f"{FORMAT_VERSION}; install a newer sonyc_ml to read it"
        )
    columns, common = metadata["recordings"], metadata["common"]
    n_windows = columns["n_windows"]
    names = fields_of(columns.keys() | common.keys())
    by_name = [columns[name] if name in columns else repeat(common[name], len(n_windows)) for name in names]
    made = (Provenance(**dict(zip(names, values, strict=True))) for values in zip(*by_name, strict=True))
    recordings = tuple(zip(made, n_windows, strict=True))
    labels, numbers = tuple(metadata["labels"]), tuple(metadata.get("label_numbers", ()))
    heads = columns.get(LEVEL_HEAD) or [common.get(LEVEL_HEAD, "")] * len(recordings)
    keys = [(found.recording, found.recording_mtime_ns) for found, _ in recordings]
    return PartDescription(recordings, labels, numbers, dict(zip(keys, heads, strict=True)))
