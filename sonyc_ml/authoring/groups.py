"""Many classes as a few: a head whose scores are the highest of each group of another head's classes.

``python -m sonyc_ml.authoring.groups HEAD LABELS GROUPS --output NAME`` does it in a shell.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sonyc_ml.authoring.graph import AlignedBuffer
from sonyc_ml.authoring.heads import FILE_IDENTIFIER, load_schema
from sonyc_ml.base.durable import write_atomically
from sonyc_ml.errors import BundleError, ConfigError, SonycMLError

COLUMNS = ("group", "label")


def grouped_head(head: bytes, groups: Sequence[Sequence[int]]) -> bytes:
    """Make a head of another one: each of its scores is the highest of a group of the other's.

    Parameters
    ----------
    head : bytes
        A ``.tflite`` with one output of scores, float32 `(1, n_classes)`.
    groups : sequence of sequences of int
        The numbers of the classes in each group, from 0. A class may be in several groups, or in none.

    Returns
    -------
    bytes
        The content of a ``.tflite`` with the input of `head` and one output, float32 `(1, n_groups)`.

    Raises
    ------
    ValueError
        A group is empty, or the head has no class of that number.
    BundleError
        `head` cannot be read, or is no head with one row of float32 scores.
    ConfigError
        What reads and writes such files is not installed.
    """
    schema, flatbuffers = load_schema()
    model, graph, scores = _read(schema, head)
    rows = _rows(groups, int(graph.tensors[scores].shape[-1]))
    members = _constant(schema, model, graph, "members", rows)
    axis = _constant(schema, model, graph, "axis", np.array([2], np.int32))
    gathered = _tensor(schema, graph, "grouped_scores", (1, *rows.shape))
    highest = _tensor(schema, graph, "group_scores", (1, len(rows)))
    _add(schema, model, graph, "GATHER", ([scores, members], gathered), _with(schema.GatherOptionsT(), axis=1))
    _add(schema, model, graph, "REDUCE_MAX", ([gathered, axis], highest), schema.ReducerOptionsT())
    graph.outputs = [highest]
    model.buffers = [AlignedBuffer(schema, buffer.data) for buffer in model.buffers]
    model.signatureDefs = model.metadata = model.metadataBuffer = None  # they name the outputs of before
    builder = flatbuffers.Builder(len(head) + 4096)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def _rows(groups: Sequence[Sequence[int]], n_classes: int) -> np.ndarray[Any, Any]:
    """The groups as rows of one length: a group's last class fills its row up, and the highest score stays the same."""
    if not groups or not all(groups):
        raise ValueError("each group needs a class at least")
    if not all(0 <= number < n_classes for group in groups for number in group):
        raise ValueError(f"a group names a class that is not there: the head has the classes 0 to {n_classes - 1}")
    longest = max(len(group) for group in groups)
    return np.array([[*group, *[group[-1]] * (longest - len(group))] for group in groups], np.int32)


def read_groups(path: Path, labels: Sequence[str]) -> dict[str, list[int]]:
    """Read a csv with the columns ``group`` and ``label``: a row for each class of a group.

    Parameters
    ----------
    path : Path
    labels : sequence of str
        Of the head, in the order of its scores.

    Returns
    -------
    dict of str to list of int
        Each group's classes by their numbers, in the order in which groups are first named.

    Raises
    ------
    ConfigError
        The columns are others, there is no row, or a label is not one of the head's; says which.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if not rows or not set(COLUMNS) <= set(reader.fieldnames or ()):
        raise ConfigError(f"{path} needs the columns {' and '.join(COLUMNS)}, and a row for each class of a group")
    numbers = {label: number for number, label in enumerate(labels)}
    unknown = [row["label"] for row in rows if row["label"] not in numbers]
    if unknown:
        raise ConfigError(f"{path} names {unknown[0]!r}, and the list of labels has no such class: correct that row")
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(numbers[row["label"]])
    return groups


def write_grouped(head: Path, labels: Path, groups: Path, name: Path) -> Mapping[str, Sequence[int]]:
    """Write ``NAME-head.tflite`` and ``NAME-labels.txt`` for the groups of a csv, and return the groups."""
    found = read_groups(groups, labels.read_text(encoding="utf-8").splitlines())
    network = grouped_head(head.read_bytes(), list(found.values()))
    write_atomically(name.with_name(f"{name.name}-head.tflite"), network)
    write_atomically(name.with_name(f"{name.name}-labels.txt"), ("\n".join(found) + "\n").encode())
    return found


def _read(schema: ModuleType, head: bytes) -> tuple[Any, Any, int]:
    """A head's model, its graph, and the number of its scores."""
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(head, 0))
        (graph,) = model.subgraphs
        (scores,) = (int(number) for number in graph.outputs)
        is_row = len(graph.tensors[scores].shape) == 2 and graph.tensors[scores].type == schema.TensorType.FLOAT32
    except Exception as error:  # the schema's reader has no errors of its own for a damaged file
        raise BundleError(f"the head cannot be read, or has not one output: {error}") from error
    if not is_row:
        raise BundleError("the head's output is not a row of float32 scores")
    return model, graph, scores


def _constant(schema: ModuleType, model: Any, graph: Any, name: str, values: np.ndarray[Any, Any]) -> int:
    data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(_with(schema.BufferT(), data=data))
    return _tensor(schema, graph, name, values.shape, schema.TensorType.INT32, len(model.buffers) - 1)


def _tensor(
    schema: ModuleType, graph: Any, name: str, shape: Sequence[int], kind: int | None = None, buffer: int = 0
) -> int:
    kind = schema.TensorType.FLOAT32 if kind is None else kind
    graph.tensors.append(_with(schema.TensorT(), name=name, shape=list(shape), type=kind, buffer=buffer))
    return len(graph.tensors) - 1


def _add(schema: ModuleType, model: Any, graph: Any, name: str, tensors: tuple[list[int], int], options: Any) -> None:
    """Add an operator with its inputs and its output."""
    code = getattr(schema.BuiltinOperator, name)
    model.operatorCodes.append(
        _with(schema.OperatorCodeT(), builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=1)
    )
    kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    inputs, output = tensors
    graph.operators.append(
        _with(
            schema.OperatorT(),
            opcodeIndex=len(model.operatorCodes) - 1,
            inputs=inputs,
            outputs=[output],
            builtinOptionsType=kind,
            builtinOptions=options,
        )
    )


def _with(table: Any, **values: Any) -> Any:
    for name, value in values.items():
        setattr(table, name, value)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a head of groups, and say what it has."""
    parser = argparse.ArgumentParser(
        prog="python -m sonyc_ml.authoring.groups",
        description="Make a head whose scores are the highest of groups of classes.",
    )
    parser.add_argument("head", type=Path, help="the head's .tflite file")
    parser.add_argument("labels", type=Path, help="its labels, one per line")
    parser.add_argument("groups", type=Path, help="a csv with the columns group and label")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="NAME", help="writes NAME-head.tflite, NAME-labels.txt"
    )
    parsed = parser.parse_args(arguments)
    try:
        groups = write_grouped(parsed.head, parsed.labels, parsed.groups, parsed.output)
    except (SonycMLError, OSError, ValueError) as error:
        print(f"groups: {error}", file=sys.stderr)
        return 2
    print(f"{len(groups)} groups: {', '.join(f'{name} ({len(numbers)})' for name, numbers in groups.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
