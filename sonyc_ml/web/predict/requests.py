"""What programs ask for: instances of sound, and how they are to be embedded."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np

from sonyc_ml.base.records import dataclass
from sonyc_ml.base.strict import build
from sonyc_ml.errors import RecordingError, SonycMLError
from sonyc_ml.model import Model
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.recording import Recording
from sonyc_ml.web.predict.sound import RequestTimes, SamplesRecording, duration_s, opened
from sonyc_ml.web.settings import ServeSettings

S = TypeVar("S")
T = TypeVar("T")

ENCODINGS = ("list", "b64")
KINDS = ("embedding", "timestamps", "scores", "labels", "detections")


class RequestError(Exception):
    """A request that cannot be answered.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
        One sentence for whoever sent it.
    instances : mapping of int to Exception, optional
        What is wrong with which of its instances.
    """

    def __init__(self, status: int, message: str, instances: Mapping[int, Exception] | None = None) -> None:
        super().__init__(message)
        self.status, self.instances = status, dict(instances or {})

    def described(self) -> dict[str, Any]:
        """What is answered: its sentence, and the name of the exception that a model would raise as ``code``."""
        said: dict[str, Any] = {"error": str(self)}
        if isinstance(self.__cause__, (SonycMLError, ValueError, TypeError)):
            said["code"] = type(self.__cause__).__name__
        if self.instances:
            said["instances"] = [
                {"index": number, "error": str(error), "code": type(error).__name__}
                for number, error in self.instances.items()
            ]
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How instances are embedded and answered.

    Attributes
    ----------
    model : str
        Name of a bundle; the first one where not given.
    hop_size : float > 0 or None
        Distance between windows (in seconds).
    outputs : tuple of str
        Of :data:`KINDS`; all that there are where empty.
    encoding : {"list", "b64"}
        How arrays are written; see :func:`sonyc_ml.web.predict.answers.encoded`.
    """

    model: str = ""
    hop_size: float | None = None
    outputs: tuple[str, ...] = ()
    encoding: str = "list"

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding must be {' or '.join(ENCODINGS)}, not {self.encoding!r}")
        if unknown := [name for name in self.outputs if name not in KINDS]:
            raise ValueError(f"outputs must be of {', '.join(KINDS)}, not {unknown[0]!r}")
        if self.hop_size is not None and not self.hop_size > 0:
            raise ValueError(f"hop_size must be a number of seconds above 0, not {self.hop_size}")


Instance = Callable[[], AbstractContextManager[Recording]]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be embedded, and how.

    Attributes
    ----------
    instances : tuple of callable
        Each opens its sound, which may raise a RecordingError, or a ValueError or TypeError where there is none.
    parameters : Parameters
    """

    instances: tuple[Instance, ...]
    parameters: Parameters


def request_of_file(content: bytes, parameters: Parameters) -> Request:
    """Return the request whose body is a file."""
    return Request((lambda: opened(content, "the body"),), parameters)


def read_json(content: bytes | str) -> dict[str, Any]:
    """Read a body of JSON.

    Raises
    ------
    RequestError
        It is no JSON object.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise RequestError(400, f"the body must be a JSON object, not {_kind(body)}")
    return body


def read_parameters(table: Any) -> Parameters:
    """Read the ``parameters`` of a request.

    Raises
    ------
    RequestError
        A key is not known, or its value cannot be.
    """
    if not isinstance(table, dict):
        raise RequestError(400, f"parameters must be a JSON object, not {_kind(table)}")
    try:
        return build(Parameters, table, "parameters.")
    except (ValueError, TypeError) as error:
        raise RequestError(400, str(error)) from error


def read_request(content: bytes, settings: ServeSettings) -> Request:
    """Read the body of ``POST /predict``.

    Raises
    ------
    RequestError
        It is not as it should be; names each bad instance.
    """
    body = read_json(content)
    if unknown := set(body) - {"instances", "parameters"}:
        raise RequestError(400, f"{min(unknown)!r} is not a known key; known are instances, parameters")
    instances = body.get("instances")
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, 'the body must have a list "instances" with at least one')
    if len(instances) > settings.max_instances:
        raise RequestError(
            422, f"{len(instances)} instances are more than {settings.max_instances}: send them in parts"
        )
    found = tuple(partial(_open_instance, instance) for instance in instances)
    return Request(found, read_parameters(body.get("parameters", {})))


def run(
    request: Request,
    models: Mapping[str, Model],
    settings: ServeSettings,
    progress: Callable[[], None],
    bytes_of_window: Callable[[Mapping[str, int]], int],
) -> list[Output]:
    """Embed the instances of a request, in order.

    Parameters
    ----------
    request : Request
    models : mapping of str to Model
    settings : ServeSettings
    progress : callable
        Called as the work goes on.
    bytes_of_window : callable
        How much of the answer a window takes, of a model whose outputs have so many columns each.

    Raises
    ------
    RequestError
        There is no such model, there is too much sound or the answer would be too long, or some instance is bad: names
        each.
    """
    model = model_named(request.parameters.model, models)
    hop_size, times = request.parameters.hop_size, RequestTimes()

    def embed(recording: Recording, number: int) -> Output:
        try:
            return model.embed(recording, hop_size, f"instance {number}", start_times=times, progress=progress)
        except RecordingError as error:  # a path in memory means nothing to who sent it
            raise type(error)(str(error).replace(recording.source, "the sound")) from error

    with ExitStack() as stack:  # each is read from its text once, and embedded when all are known to be good
        recordings = _on_each(request.instances, lambda instance, _: stack.enter_context(instance()))
        if sum(map(duration_s, recordings)) > settings.max_duration_s:
            raise RequestError(422, f"there is more sound than {settings.max_duration_s:g} s: send it in parts")
        n_windows = sum(_on_each(recordings, lambda one, _: _n_windows(one, model, hop_size)))
        if n_windows > (most := settings.max_windows):
            text = f"{n_windows} windows are more than {most}: give a longer hop_size, or send it in parts"
            raise RequestError(422, text)
        _refuse_long(n_windows * bytes_of_window(model.widths), settings.max_answer_bytes)
        return _on_each(recordings, embed)


def _refuse_long(n_bytes: int, most: int) -> None:
    if n_bytes > most:
        raise RequestError(
            422,
            f"the answer would take up to {n_bytes} bytes, more than {most}: ask for fewer outputs, a longer hop_size, "
            "arrays as bytes (encoding b64, npz or binary tensors), or send it in parts",
        )


def _n_windows(recording: Recording, model: Model, hop_size: float | None) -> int:
    return model.extractor.framing(recording.n_samples, recording.sample_rate, hop_size).n_windows


def _on_each(items: Iterable[S], function: Callable[[S, int], T]) -> list[T]:
    """What a function gives of each item and its number; names each that it cannot be had of."""
    found: list[T] = []
    wrong: dict[int, Exception] = {}
    for number, item in enumerate(items):
        try:
            found.append(function(item, number))
        except (RecordingError, ValueError, TypeError) as error:
            wrong[number] = error
    if wrong:
        named = "; ".join(f"instance {number}: {error}" for number, error in wrong.items())
        raise RequestError(400, named, wrong)
    return found


def model_named(name: str, models: Mapping[str, Model]) -> Model:
    """Return the model of a bundle of this name, or the first where there is no name.

    Raises
    ------
    RequestError
        There is none.
    """
    if not name:
        return next(iter(models.values()))
    if name not in models:
        raise RequestError(404, f"there is no model {name!r} here; there are {', '.join(models)}")
    return models[name]


def _open_instance(instance: Any) -> AbstractContextManager[Recording]:
    if not isinstance(instance, dict):
        raise TypeError(f"it must be a JSON object, not {_kind(instance)}")
    if set(instance) == {"b64"}:
        return opened(decoded(instance["b64"]), "b64")
    if set(instance) == {"samples", "sample_rate"}:
        return nullcontext(SamplesRecording(_numbers(instance["samples"]), instance["sample_rate"], "samples"))
    raise ValueError(
        'it must have either "b64", a file in base64, or "samples" and "sample_rate"; '
        f"it has {', '.join(sorted(map(str, instance))) or 'nothing'}"
    )


def decoded(text: Any) -> bytes:
    """Decode base64.

    Raises
    ------
    ValueError, TypeError
        It is none.
    """
    if not isinstance(text, str):
        raise TypeError(f"b64 must be a string, not {_kind(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"b64 is no base64: {error}") from error


def _numbers(values: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"samples must be a list of numbers in [-1, 1], not {_kind(values)}")
    if any(type(value) not in (int, float) for value in values):
        raise TypeError("samples must be a list of numbers in [-1, 1] and nothing else")
    return np.array(values, np.float32)


def _kind(value: Any) -> str:
    kinds: Iterator[str] = (text for kind, text in KIND_TEXTS if isinstance(value, kind))
    return next(kinds, "null")


KIND_TEXTS = (
    (bool, "true or false"),
    (str, "a string"),
    (list, "a list"),
    (dict, "an object"),
    ((int, float), "a number"),
)
