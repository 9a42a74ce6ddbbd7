"""What ``sonyc-ml doctor`` finds: asked now and then, in a process of its own that may not take long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sonyc_ml.base.records import dataclass
from sonyc_ml.node.doctor.access import existing, may, sudo_user

KEPT_S = 300.0  # an examination is as good as new for so long
MAX_S = 120.0  # that one may take: a small node loads its networks in seconds
WAIT_S = 3.0  # that a page waits for one: most nodes are faster
NICE = 19
# What the doctor finds of these depends on whose process it is.
PERSONAL = ("user", "spool", "output", "state", "retention", "nice", "service")


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found.

    Attributes
    ----------
    at_s : float
        When it was over (in seconds since 1970).
    findings : tuple of mapping
        As ``sonyc-ml doctor --json`` has them: ``check``, ``verdict``, ``text``, ``remedy``.
    problem : str
        Why there are none.
    """

    at_s: float
    findings: tuple[Mapping[str, str], ...] = ()
    problem: str = ""

    def of(self, *verdicts: str) -> list[Mapping[str, str]]:
        """The findings with one of some verdicts."""
        return [one for one in self.findings if one["verdict"] in verdicts]


class Examiner:
    """Asks the doctor when somebody wants to know, and not again too soon.

    Parameters
    ----------
    config_path : Path
        The daemon's configuration file.
    state_folder : Path
        Where its journal lies: who may not write there is not asked what may be written.
    command : sequence of str, optional
        What is run, with ``--config FILE --json``.
    """

    def __init__(self, config_path: Path, state_folder: Path, command: Sequence[str] = ()) -> None:
        self._folder = state_folder
        doctor = command or ("nice", "-n", str(NICE), sys.executable, "-P", "-m", "sonyc_ml", "doctor")
        self._command = [*doctor, "--config", str(config_path.absolute()), "--json"]
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last: Examination | None = None

    @property
    def is_at_it(self) -> bool:
        """Whether one goes on."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def last(self, wait_s: float = WAIT_S) -> Examination | None:
        """The last examination; a new one begins where it is too old, and is waited for a little if there is none."""
        with self._lock:
            is_old = self._last is None or time.time() - self._last.at_s > KEPT_S
            if is_old and not self.is_at_it:
                self._thread = threading.Thread(target=self._examine, name="doctor", daemon=True)
                self._thread.start()
            thread = self._thread
        if self._last is None and thread is not None:
            thread.join(wait_s)
        return self._last

    def _examine(self) -> None:
        try:
            self._last = self._asked()
        except subprocess.TimeoutExpired:
            self._last = Examination(time.time(), problem=f"the doctor was not through after {MAX_S:g} s")
        except OSError as error:
            self._last = Examination(time.time(), problem=f"the doctor could not be asked: {error.strerror}")

    def _asked(self) -> Examination:
        done = subprocess.run(  # noqa: S603  our own command
            self._command, capture_output=True, timeout=MAX_S, check=False, stdin=subprocess.DEVNULL
        )
        try:
            findings = json.loads(done.stdout)["findings"]
        except (ValueError, KeyError, TypeError):
            said = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {done.returncode}"]
            return Examination(time.time(), problem=f"the doctor could not be asked: {said[-1]}")
        if not may(existing(self._folder), os.W_OK):
            findings = [_as_seen(one, self._folder) for one in findings]
        return Examination(time.time(), tuple(findings))


def _as_seen(finding: Mapping[str, str], folder: Path) -> Mapping[str, str]:
    """A finding; one that only tells what this process may not do is none, for the daemon may do more."""
    if finding["verdict"] not in ("warn", "bad") or finding["check"] not in PERSONAL:
        return finding
    uid = existing(folder).stat().st_uid
    text = f"not seen from here, for this page may only read; ask sudo -u {sudo_user(uid)} sonyc-ml doctor"
    return {**finding, "verdict": "skipped", "text": text, "remedy": ""}
