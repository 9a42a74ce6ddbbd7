"""Our own events, of what became of the sound: outputs as arrays; errors, raised again on the other side."""

from __future__ import annotations

import builtins
import re

from sonyc_ml import errors
from sonyc_ml.errors import ProtocolError
from sonyc_ml.sound.live.wyoming import ERROR, Event, encode

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy.typing as npt

OUTPUTS = "outputs"  # timestamps, and each of embedding and scores that there is, of one recording
DETECTION = "detection"  # a class that was heard from one moment to another
SAID_LENGTH = 2000  # of an error's sentence

KNOWN_DTYPES = re.compile(r"[<|][biufU]\d{1,5}")  # nothing that would have to be unpickled


def encode_outputs(arrays: Mapping[str, npt.NDArray[Any]], **said: Any) -> bytes:
    """Return an ``outputs`` event: the arrays' bytes one after another, and what else there is to say.

    Parameters
    ----------
    arrays : mapping of str to np.ndarray
        ``timestamps`` (in seconds), ``embedding``, ``scores`` …, as :meth:`sonyc_ml.AudioModel.get_outputs` gives them.
    **said
        As in ``source="street"``, ``start_time="2026-11-28T17:00:00Z"``; what JSON can hold.
    """
    parts = [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in arrays.values()]
    described = [
        {"name": name, "dtype": array.dtype.newbyteorder("<").str, "shape": list(array.shape)}
        for name, array in arrays.items()
    ]
    payload = b"".join(parts)
    return encode(OUTPUTS, {**said, "arrays": described}, len(payload)) + payload


def read_outputs(event: Event) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an ``outputs`` event.

    Raises
    ------
    ProtocolError
        What it says of them does not fit its bytes.
    """
    import numpy as np  # noqa: PLC0415  who only connects needs none

    arrays: dict[str, npt.NDArray[Any]] = {}
    position = 0
    try:
        for described in event.data["arrays"]:
            dtype, shape = str(described["dtype"]), tuple(map(int, described["shape"]))
            if not KNOWN_DTYPES.fullmatch(dtype):
                raise ProtocolError(f"no array of outputs has the dtype {dtype!r:.40}")
            array: npt.NDArray[Any] = np.ndarray(shape, dtype, event.payload, position)
            arrays[str(described["name"])] = array.copy()  # of its own, aligned, and to be written to
            position += array.nbytes
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"outputs came with arrays that cannot be read: {error}") from error
    if position != len(event.payload):
        raise ProtocolError(f"outputs came with {len(event.payload):,} bytes, of which the arrays are {position:,}")
    return arrays


def encode_error(error: Exception, **said: Any) -> bytes:
    """Return an ``error`` event: its sentence, its class as ``code``, and what else there is to say."""
    return encode(ERROR, {**said, "text": str(error)[:SAID_LENGTH], "code": type(error).__name__})


def read_error(event: Event) -> Exception:
    """Read an ``error`` event: an exception of the class that it had on the other side, to be raised.

    A class that is neither of :mod:`sonyc_ml.errors` nor of Python's own becomes a RuntimeError that names it.
    """
    code, text = str(event.data.get("code") or ""), str(event.data.get("text") or "no reason was given")
    kind = getattr(errors, code, None) or getattr(builtins, code, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:  # one that is made of more than a sentence
            pass
    return RuntimeError(f"{code}: {text}" if code else text)
