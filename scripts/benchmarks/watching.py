"""The real ``sonyc-ml watch``, started and observed from outside."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.benchmarks import environments
from scripts.benchmarks.workers import WorkerError, wait

POLL_S = 0.0005


class Watch:
    """A running ``sonyc-ml watch``.

    Parameters
    ----------
    python : Path
        Of the environment it runs in.
    network, folder, output : Path
    flags : sequence of str
        Further ones of the command.
    """

    def __init__(self, python: Path, network: Path, folder: Path, output: Path, flags: Sequence[str] = ()) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        options: list[str | Path] = ["watch", folder, "--model", network, "--output", output, *flags]
        self._process = subprocess.Popen(
            [*command(python), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env=environments.variables(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def wait_for(self, path: Path, limit_s: float = 60.0) -> None:
        """Wait until a file is there.

        Raises
        ------
        WorkerError
            The command ended, or the file does not come.
        """
        end_s = time.monotonic() + limit_s
        while not path.exists():
            time.sleep(POLL_S)
            if self._process.poll() is not None or time.monotonic() > end_s:
                self._log.seek(0)
                said = self._log.read().decode(errors="replace").strip().splitlines()
                raise WorkerError(f"sonyc-ml watch made no {path.name}: {said[-1] if said else 'it said nothing'}")

    def memory_mb(self) -> tuple[float, float]:
        """What it occupies now, and at most so far."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines)
        return int(values["VmRSS"].split()[0]) / 1024, int(values["VmHWM"].split()[0]) / 1024

    def stop(self) -> float:
        """Stop it as a service manager does; returns its peak memory (in MB), 0 if it had ended before."""
        if self._process.returncode is not None:
            return 0.0
        self._process.send_signal(signal.SIGTERM)
        peak_mb = wait(self._process)
        self._log.close()
        return peak_mb


def command(python: Path) -> list[Path | str]:
    """How ``sonyc-ml`` is called: its script where the package is installed, else the module."""
    script = python.with_name("sonyc-ml")
    return [script] if script.exists() else [python, "-m", "sonyc_ml"]
