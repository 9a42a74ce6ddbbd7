"""Processes that compute when asked, and not otherwise: one line of JSON in, one line out."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.benchmarks import environments


class WorkerError(Exception):
    """A worker did not start, or died; says what it said last."""


class Worker:
    """One variant, in a process of its own.

    Parameters
    ----------
    python : Path
        Of the environment it runs in.
    module : str
        In ``programs``; it calls ``serving.serve``.
    settings : mapping
        Given to the module as JSON.

    Attributes
    ----------
    about : dict
        What the worker said of itself when it was ready.
    """

    def __init__(self, python: Path, module: str, settings: Mapping[str, Any]) -> None:
        self._module = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        self._process = subprocess.Popen(
            [python, "-P", "-m", f"scripts.benchmarks.programs.{module}", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environments.variables(),
        )
        try:
            self.about = self.answer()
        except Exception:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, do: str, **parameters: Any) -> dict[str, Any]:
        """Let the worker do something and wait for its answer."""
        self.tell(do, **parameters)
        return self.answer()

    def tell(self, do: str, **parameters: Any) -> None:
        """Let the worker do something."""
        if self._process.stdin is None:
            raise ValueError("the worker has no standard input")
        print(json.dumps({"do": do, **parameters}), file=self._process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """Wait for the worker's next line."""
        if self._process.stdout is None:
            raise ValueError("the worker has no standard output")
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines()
            raise WorkerError(f"{self._module}: {said[-1] if said else 'it ended without a word'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> float:
        """End the worker; returns its peak memory (in MB), 0 if it was closed before."""
        if self._process.returncode is not None:
            return 0.0
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        peak_mb = wait(self._process)
        self._errors.close()
        return peak_mb


def wait(process: subprocess.Popen[Any]) -> float:
    """Wait for a process to end; returns its peak memory (in MB), which only the kernel's account of it tells."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / 1024
