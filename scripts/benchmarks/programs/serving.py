"""The worker's side of ``workers``: answer requests, a line of JSON each, until the input ends."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def settings() -> dict[str, Any]:
    """What the parent gave this worker."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def serve(about: Mapping[str, Any], actions: Mapping[str, Callable[..., Mapping[str, Any]]]) -> None:
    """Say `about`, then do what is asked; whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(actions[request.pop("do")](**request)), file=answers, flush=True)


@contextmanager
def timed(stages: dict[str, float], name: str) -> Iterator[None]:
    """Add the time that passes inside to a stage (in milliseconds)."""
    start_s = time.perf_counter()
    try:
        yield
    finally:
        stages[name] = stages.get(name, 0.0) + (time.perf_counter() - start_s) * 1e3
