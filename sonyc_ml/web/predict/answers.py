"""What programs get: outputs as JSON, npz or an Arrow stream."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.parquet import arrow_modules, output_tables
from sonyc_ml.web.predict.requests import KINDS, Parameters

JSON, NPZ, ARROW = "application/json", "application/x-npz", "application/vnd.apache.arrow.stream"
BYTES_OF_NUMBER = {"list": 24, "b64": 6}  # float32 as the text of a double at its longest, with its comma; in base64
BYTES_OF_FLOAT = 4
NUMBERS_AT_ONCE = 4096  # numbers that are Python's at the same time: an array takes an eighth of its list
COMPACT = (",", ":")


def predictions(outputs: Sequence[Output], parameters: Parameters) -> bytes:
    """Return the body of an answer in JSON: ``{"predictions": [...]}``, one for each instance, in order."""
    wanted = parameters.outputs or KINDS
    found = (_object(_texts(output, wanted, parameters.encoding)) for output in outputs)
    return f'{{"predictions":[{",".join(found)}]}}'.encode()


def bytes_of_window(widths: Mapping[str, int], parameters: Parameters, accepted: str) -> int:
    """How much of an answer one window takes at most, whose outputs have so many columns each."""
    if ARROW in accepted or NPZ in accepted:
        return BYTES_OF_FLOAT * (2 + sum(widths.values()))
    wanted = parameters.outputs or KINDS
    n_numbers = 1 + sum(width for kind, width in widths.items() if _is_wanted(kind, wanted))
    return BYTES_OF_NUMBER[parameters.encoding] * n_numbers


def npz(output: Output) -> bytes:
    """Return an output as the content of its ``.npz``: the very bytes that a folder would hold."""
    file = io.BytesIO()
    arrays: dict[str, Any] = output.arrays()
    np.savez(file, **arrays)
    return file.getvalue()


def arrow_stream(outputs: Sequence[Output]) -> bytes:
    """Return outputs as an Arrow stream, one row per window; the column `recording` tells the instances apart.

    Raises
    ------
    ConfigError
        There is no pyarrow.
    """
    arrow, _ = arrow_modules()
    tables = [table for output in outputs for table in output_tables(output)]
    table = arrow.concat_tables([one.replace_schema_metadata(None) for one in tables])
    schema = table.schema.with_metadata({"labels": json.dumps(outputs[0].labels)})
    with io.BytesIO() as file:
        with arrow.ipc.new_stream(file, schema) as stream:
            stream.write_table(table)
        return file.getvalue()


def encoded(array: npt.NDArray[Any], encoding: str) -> str:
    """Return an array as JSON.

    Parameters
    ----------
    array : np.ndarray
    encoding : {"list", "b64"}
        Lists of numbers, which read back to the same bits; or ``{"b64": ..., "dtype": "<f4", "shape": [...]}``, its
        bytes in base64, at a twentieth of the time.
    """
    if encoding == "list":
        return f"[{','.join(_rows(array))}]"
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    text = base64.b64encode(array.tobytes()).decode()
    return json.dumps({"b64": text, "dtype": array.dtype.str, "shape": list(array.shape)}, separators=COMPACT)


def _rows(array: npt.NDArray[Any]) -> Iterator[str]:
    """The rows of an array as JSON, several in a text."""
    step = max(1, NUMBERS_AT_ONCE // max(1, array[:1].size))
    for start in range(0, len(array), step):
        yield json.dumps(array[start : start + step].tolist(), separators=COMPACT)[1:-1]


def _is_wanted(name: str, wanted: Sequence[str]) -> bool:
    return name in wanted or (name.startswith("top_") and "scores" in wanted)


def _texts(output: Output, wanted: Sequence[str], encoding: str) -> dict[str, str]:
    """What is said of an output, each as JSON."""
    arrays: Mapping[str, npt.NDArray[Any]] = {"timestamps": output.timestamps, **output.by_kind()}
    texts = {name: encoded(array, encoding) for name, array in arrays.items() if _is_wanted(name, wanted)}
    if "labels" in wanted and output.labels:
        texts["labels"] = json.dumps(list(output.labels), separators=COMPACT)
    if "detections" in wanted and output.detections is not None:
        texts["detections"] = json.dumps([asdict(one) for one in output.detections], separators=COMPACT)
    return texts


def _object(texts: Mapping[str, str]) -> str:
    return f"{{{','.join(f'{json.dumps(key)}:{text}' for key, text in texts.items())}}}"
