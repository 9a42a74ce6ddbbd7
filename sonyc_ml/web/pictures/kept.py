"""Answers that are kept in memory, up to so many bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeAlias

from sonyc_ml.web.pictures.jobs import Job

Parts: TypeAlias = Mapping[str, bytes]

OVERHEAD = 1024  # bytes of an answer, beside its parts


class Kept:
    """Keeps answers by what was asked, up to so many bytes; what was asked for longest ago goes first.

    Parameters
    ----------
    max_bytes : int > 0
        An answer that is larger alone is not kept.

    Attributes
    ----------
    n_bytes : int
        That it takes now.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self.n_bytes = max_bytes, 0
        self._answers: OrderedDict[Job, Parts] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, job: Job) -> Parts | None:
        """What was answered; None where that is not there any more."""
        with self._lock:
            if job in self._answers:
                self._answers.move_to_end(job)
            return self._answers.get(job)

    def put(self, job: Job, parts: Parts) -> None:
        """Keep an answer, if it is not too large."""
        if size_of(parts) > self._max_bytes:
            return
        with self._lock:
            if job in self._answers:
                self.n_bytes -= size_of(self._answers.pop(job))
            self._answers[job] = parts
            self.n_bytes += size_of(parts)
            while self.n_bytes > self._max_bytes:
                _, dropped = self._answers.popitem(last=False)
                self.n_bytes -= size_of(dropped)


def size_of(parts: Parts) -> int:
    """How many bytes an answer takes."""
    return OVERHEAD + sum(map(len, parts.values()))
