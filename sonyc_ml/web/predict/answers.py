"""What programs get: outputs as JSON, npz or an Arrow stream."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.parquet import arrow_modules, output_tables
from sonyc_ml.web.predict.requests import KINDS, Parameters

JSON, NPZ, ARROW = "application/json", "application/x-npz", "application/vnd.apache.arrow.stream"


def predictions(outputs: Sequence[Output], parameters: Parameters) -> bytes:
    """Return the body of an answer in JSON: ``{"predictions": [...]}``, one for each instance, in order."""
    wanted = parameters.outputs or KINDS
    return json.dumps(
        {"predictions": [_plain(output, wanted, parameters.encoding) for output in outputs]}, separators=(",", ":")
    ).encode()


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


def encoded(array: npt.NDArray[Any], encoding: str) -> Any:
    """Return an array as JSON holds it.

    Parameters
    ----------
    array : np.ndarray
    encoding : {"list", "b64"}
        Lists of numbers, which read back to the same bits; or ``{"b64": ..., "dtype": "<f4", "shape": [...]}``, its
        bytes in base64, at a twentieth of the time.
    """
    if encoding == "list":
        return array.tolist()
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {"b64": base64.b64encode(array.tobytes()).decode(), "dtype": array.dtype.str, "shape": list(array.shape)}


def _plain(output: Output, wanted: Sequence[str], encoding: str) -> dict[str, Any]:
    arrays: Mapping[str, npt.NDArray[Any]] = {"timestamps": output.timestamps, **output.by_kind()}
    plain = {
        name: encoded(array, encoding)
        for name, array in arrays.items()
        if name in wanted or (name.startswith("top_") and "scores" in wanted)
    }
    if "labels" in wanted and output.labels:
        plain["labels"] = list(output.labels)
    if "detections" in wanted and output.detections is not None:
        plain["detections"] = [asdict(one) for one in output.detections]
    return plain
