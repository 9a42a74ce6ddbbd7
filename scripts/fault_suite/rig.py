"""A node to break: the daemon as a process of its own, recordings to feed it, and what must hold afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import StoreError
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.outputs.files import find_output

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE_RATE = 8000
PATIENCE_S = 60.0
TEMPORARY = re.compile(r"\..*\.tmp")
# In front of the daemon: the permissions of files then hold for root too.
WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")


@dataclass(frozen=True, slots=True)
class Options:
    """How hard to try, and where.

    Attributes
    ----------
    folder : Path
        Everything of a row goes below it; it is removed afterwards.
    bundle : Path
        A network small enough that the faults, and not the arithmetic, take the time.
    is_long, is_brief : bool
        The long part rather than the quick one; a quarter of the quick one's tries.
    seed : int
        Of what is left to chance.
    minutes : float or None
        How long a row takes that can take any time; as long as its part where not given.
    """

    folder: Path
    bundle: Path
    is_long: bool
    seed: int
    minutes: float | None = None
    is_brief: bool = False

    def number(self, quick: int, long: int) -> int:
        """How many tries a row makes, of what it makes in its quick and in its long part."""
        return long if self.is_long else max(1, quick // 4) if self.is_brief else quick


@dataclass(slots=True)
class Row:
    """What one fault came to.

    Attributes
    ----------
    fault : str
    counts : dict
        What was counted, by name.
    problems : list of str
        What should not have been; none where the promise held.
    too_slow : list of str
        The same, of times: they tell only on a machine that does nothing else.
    skipped : str
        Why it could not be tried here.
    """

    fault: str
    counts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    too_slow: list[str] = field(default_factory=list)
    skipped: str = ""


class Node:
    """A folder, its outputs, and a daemon between them.

    Parameters
    ----------
    folder : Path
        Holds ``recordings`` and ``embeddings``, and the configuration.
    bundle : Path
    settings : mapping of str to str
        TOML for further tables, as in ``{"spool": "rescan_s = 1.0"}``.
    program : list of str, optional
        Runs in the place of ``python -m sonyc_ml``; the arguments follow it.
    """

    def __init__(
        self, folder: Path, bundle: Path, settings: dict[str, str] | None = None, program: list[str] | None = None
    ) -> None:
        self.folder, self.recordings, self.outputs = folder, folder / "recordings", folder / "embeddings"
        self.log_path = folder / "log"
        self.recordings.mkdir(parents=True, exist_ok=True)
        self._program = program or [sys.executable, "-m", "sonyc_ml"]
        tables = {"spool": f'folder = "{self.recordings}"\nsettle_s = 0.05', "model": f'path = "{bundle}"'}
        tables["output"] = f'folder = "{self.outputs}"'
        for name, lines in (settings or {}).items():
            tables[name] = f"{tables.get(name, '')}\n{lines}"
        self.config = folder / "sonyc-ml.toml"
        self.config.write_text("".join(f"[{name}]\n{lines}\n\n" for name, lines in tables.items()))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *prefix: str, wait: bool = True, **keywords: Any) -> subprocess.Popen[bytes]:
        """Start the daemon, behind another command where one is given; wait until it watches."""
        offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            command = [*prefix, *self._program, "watch", "--config", str(self.config), "--verbose"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **keywords)
        if wait:
            self.wait_for(lambda: "watching" in self.log(offset), "the daemon to watch")
        return self.process

    def send(self, number: int) -> None:
        """Send the daemon a signal."""
        os.kill(self.pid, number)

    @property
    def pid(self) -> int:
        """Of the daemon, which has been started."""
        assert self.process is not None
        return self.process.pid

    def log(self, offset: int = 0) -> str:
        """What the daemon said since."""
        with self.log_path.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")

    def wait_for(self, holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> float:
        """Wait until something holds; return how long it took (in seconds)."""
        start_s = time.monotonic()
        while not holds():
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"the daemon ended before {what}: {self.log()[-2000:]}")
            if time.monotonic() - start_s > patience_s:
                raise RuntimeError(f"waited {patience_s:g} s for {what}: {self.log()[-2000:]}")
            time.sleep(0.005)
        return time.monotonic() - start_s

    def wait_until_done(self, patience_s: float = PATIENCE_S) -> float:
        """Wait until every recording that lies in the folder has come to an end."""
        return self.wait_for(lambda: not self.unsettled(), "everything to be settled", patience_s)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop the daemon; returns its status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End the daemon at once, where it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, question: Callable[[Journal], Any], otherwise: Any = None) -> Any:
        """What the journal says, as in ``ask(Journal.facts)``; something else where there is none yet."""
        try:
            journal = Journal(self.outputs / ".sonyc-ml", read_only=True)
        except StoreError:
            return otherwise
        try:
            return question(journal)
        finally:
            journal.close()

    def entries(self) -> list[Entry]:
        """Everything that the journal knows."""
        found: list[Entry] = self.ask(lambda journal: list(journal.entries()), [])
        return found

    def states(self) -> Counter[str]:
        """How many recordings are in each state, and why where there is a reason."""
        return Counter(f"{entry.state} ({entry.reason})" if entry.reason else entry.state for entry in self.entries())

    def unsettled(self) -> set[str]:
        """Recordings in the folder that have no end yet, by name."""
        ended = {entry.identity for entry in self.entries() if entry.state != "pending"}
        return {identity.name for identity in self.identities() if identity not in ended}

    def identities(self) -> list[Identity]:
        """What lies in the folder."""
        found = []
        for path in self.recordings.rglob("*.wav"):
            if not path.is_file() or path.name.startswith("."):
                continue
            status = path.stat()
            found.append(Identity(path.relative_to(self.recordings).as_posix(), status.st_size, status.st_mtime_ns))
        return found

    def problems(self) -> list[str]:
        """What must not be: recordings lost, outputs that are corrupt or double, temporary files left."""
        done = {entry.identity for entry in self.entries() if entry.state == "done"}
        known = {entry.identity for entry in self.entries() if entry.state != "pending"}
        found = self.identities()
        lost = [identity.name for identity in found if identity not in known]
        unpublished = [i.name for i in found if i in done and find_output(i, self.outputs, "npz") is None]
        outputs = [path for path in self.outputs.rglob("*.npz") if not path.name.startswith(".")]
        recordings = Counter(output_identity(path) for path in outputs)
        corrupt = recordings.pop(None, 0)
        double = [identity.name for identity, n in recordings.items() if identity and n > 1]
        strangers = len(set(recordings) - {None} - done)
        left = [path.name for path in self.outputs.rglob(".*.tmp")]
        told: dict[str, Sequence[object]] = {
            "lost": lost,
            "done without an output": unpublished,
            "published twice": double,
            "temporary files left": left,
            "corrupt outputs": list(range(corrupt)),
            "outputs the journal does not know": list(range(strangers)),
        }
        return [f"{len(names)} {what}: {names[:3]}" for what, names in told.items() if names]


def daemon_without(safeguard: str) -> list[str]:
    """How the daemon is started with one of its safeguards taken out."""
    return [sys.executable, "-m", "scripts.fault_suite.programs.control", safeguard]


@contextmanager
def trial(node: Node, row: Row) -> Iterator[None]:
    """Try a node: whatever goes wrong is a problem of the row, and the daemon has to end well."""
    try:
        yield
        if status := node.end():
            row.problems.append(f"the daemon ended with {status}")
    except RuntimeError as error:
        row.problems.append(str(error))
    finally:
        node.kill()


def output_identity(path: Path) -> Identity | None:
    """Which recording an output belongs to, after reading all of it; None where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            read = {name: arrays[name] for name in arrays.files}
        rows = len(read["timestamps"])
        if rows < 1 or len(read["embedding"]) != rows or not np.isfinite(read["embedding"]).all():
            return None
        return Identity(str(read["recording"]), int(read["recording_bytes"]), int(read["recording_mtime_ns"]))
    except Exception:  # noqa: BLE001  a damaged file fails in a dozen ways
        return None


def sound(seconds: float = 1.0, seed: int = 0) -> bytes:
    """The bytes of a short recording."""
    samples = np.random.default_rng(seed).normal(0, 0.01, round(seconds * SAMPLE_RATE))
    path = Path(f"/dev/shm/sound-{os.getpid()}.wav")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    content = path.read_bytes()
    path.unlink()
    return content


def record(folder: Path, names: Iterable[str], content: bytes | None = None) -> None:
    """Write recordings as a recorder does: open, write, close."""
    content = content or sound()
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def as_root() -> bool:
    """Whether this may mount and change the kernel's settings."""
    return os.geteuid() == 0


def has(command: str) -> bool:
    """Whether a command is there."""
    return shutil.which(command) is not None
