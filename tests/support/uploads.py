"""A node that uploads: outputs as the daemon writes them, a configuration, and the process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from sonyc_ml.node.config import Config, load_config
from sonyc_ml.node.upload.stores.opening import open_store
from sonyc_ml.node.upload.uploader import Uploader
from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.output import Output
from tests.support.outputs import PROVENANCE
from tests.support.stores import StoreHere

DAY = datetime(2026, 11, 21, tzinfo=UTC)


def write_outputs(folder: Path, n: int, first: datetime = DAY, step_s: float = 10.0, n_values: int = 8) -> list[Path]:
    """Outputs of recordings that begin one after another."""
    paths = []
    for number in range(n):
        start = first + timedelta(seconds=number * step_s)
        rng = np.random.default_rng(int(start.timestamp()))
        provenance = replace(
            PROVENANCE,
            recording=f"{start:%Y%m%dT%H%M%SZ}.wav",
            recording_sha256=rng.bytes(32).hex(),
            recording_bytes=1000,
            recording_mtime_ns=int(start.timestamp()) * 10**9,
            start_time=start.isoformat(),
            hop_size_s=1.0,
            sample_rate=8000,
            n_samples=8000,
        )
        path = folder / f"{provenance.recording}.npz"
        embedding = rng.normal(size=(2, n_values)).astype(np.float32)
        write_output(Output(timestamps=np.arange(2.0), embedding=embedding, provenance=provenance), path)
        paths.append(path)
    return paths


class UploadingNode:
    """The folders and the configuration of a node that uploads to a store.

    Parameters
    ----------
    folder : Path
    store : StoreHere
    more : str
        Further lines of ``[upload]``.
    """

    def __init__(self, folder: Path, store: StoreHere, more: str = "") -> None:
        self.store, self.folder = store, folder
        self.outputs, self.recordings = folder / "out", folder / "recordings"
        self.outputs.mkdir(parents=True, exist_ok=True)
        self.recordings.mkdir(exist_ok=True)
        self.path = folder / "sonyc-ml.toml"
        self.configure(more)

    def configure(self, more: str = "") -> Config:
        """Write the configuration anew, and read it."""
        text = '[spool]\nfolder = "recordings"\n[output]\nfolder = "out"\n[node]\nname = "pole-12"\n'
        self.path.write_text(f'{text}[upload]\nto = "{self.store.to}"\n{more}\n')
        self.config = load_config(self.path, {})
        return self.config

    @property
    def state(self) -> Path:
        """Where the ledger lies."""
        return self.outputs / ".sonyc-ml" / "upload"

    def uploader(self, stop: threading.Event | None = None, **clocks: Callable[[], float]) -> Uploader:
        """In this process."""
        store = open_store(self.config.upload, self.store.environment)
        return Uploader(self.config, store, stop or threading.Event(), **clocks)

    def turn(self, *, at_once: bool = True) -> None:
        """One turn in this process."""
        with closing(self.uploader()) as uploader:
            uploader.turn(at_once=at_once)

    def start(self, *flags: str, **environment: str) -> subprocess.Popen[str]:
        """A process of its own."""
        command = [sys.executable, "-m", "sonyc_ml", "upload", "--config", str(self.path), *flags]
        known = {**os.environ, **self.store.environment, **environment}
        return subprocess.Popen(command, env=known, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A process of its own, to its end."""
        process = self.start(*flags, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)
