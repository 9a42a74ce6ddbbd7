"""Sound that is allowed on the disk and for which there is no room in memory: written into the spool, as recordings."""

from __future__ import annotations

import logging
import os
import queue
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from sonyc_ml.base.durable import atomic_file
from sonyc_ml.base.human import date_of
from sonyc_ml.errors import StoreError
from sonyc_ml.node.intake.buffer import NOT_STORED, SPOOLED, Waiting
from sonyc_ml.sound.header import EXTENSIBLE, Layout
from sonyc_ml.sound.live.segment import LiveSegment

logger = logging.getLogger(__name__)

SUB_FORMAT = bytes.fromhex("000000001000800000aa00389b71")  # behind the tag: KSDATAFORMAT_SUBTYPE_PCM and others
UNSIGNED = bytes((number + 128) % 256 for number in range(256))
STOP_S = 20.0  # how long the end waits for a disk


class Spooler:
    """Writes recordings into a folder, on a thread of its own: a slow disk holds up nobody else.

    Parameters
    ----------
    folder : Path
    max_waiting_s : float
        How much sound may wait to be written (in seconds).
    wake : callable
        Called when one is written.
    """

    def __init__(self, folder: Path, max_waiting_s: float, wake: Callable[[], None]) -> None:
        self._folder, self._max_waiting_s, self._wake = folder, max_waiting_s, wake
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._waiting_s = 0.0
        self._thread = threading.Thread(target=self._run, name="spooler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def take(self, waiting: Waiting) -> bool:
        """Write a recording, soon; False where too much waits already."""
        if self._waiting_s + waiting.segment.duration_s > self._max_waiting_s:
            return False
        self._waiting_s += waiting.segment.duration_s
        self._queue.put(waiting)
        return True

    def _run(self) -> None:
        while (waiting := self._queue.get()) is not None:
            try:
                path = write_wav(waiting.segment, self._folder)
            except StoreError as error:
                logger.error("%s", error)
                waiting.give_up(NOT_STORED, f"there was no room for it in memory, and not on the disk: {error}")
            else:
                waiting.give_up(SPOOLED, f"it was written to {path} (listen.spool)")
            self._waiting_s -= waiting.segment.duration_s
            self._wake()


def spool_name(source: str, start_s: float) -> str:
    """What a file of a stream is called: ``street_20261128T170000.250Z.wav``; of a whole second, without a fraction."""
    date = date_of(round(start_s, 3))
    fraction = f".{date.microsecond // 1000:03d}" if date.microsecond else ""
    return f"{source}_{date:%Y%m%dT%H%M%S}{fraction}Z.wav"


def write_wav(segment: LiveSegment, folder: Path) -> Path:
    """Write a stretch of a stream as a WAV file, durably; return its path.

    Raises
    ------
    StoreError
    """
    path = folder / spool_name(segment.source, segment.start_s)
    if os.path.lexists(path):
        path = path.with_name(f"{path.stem}.{segment.mtime_ns % 10**9:09d}.wav")
    layout, content = segment.layout, segment.content
    content = content[: segment.n_own * layout.frame_size]
    with atomic_file(path) as file:
        file.write(wav_header(layout, len(content)))
        file.write(content.translate(UNSIGNED) if layout.is_signed and layout.bits == 8 else content)
    return path


def wav_header(layout: Layout, n_bytes: int) -> bytes:
    """The header of a WAV file, up to its samples."""
    order, name = layout.order, b"RIFX" if layout.order == ">" else b"RIFF"
    is_plain = layout.valid_bits in (0, layout.bits)
    form = struct.pack(
        f"{order}HHIIHH",
        layout.tag if is_plain else EXTENSIBLE,
        layout.n_channels,
        layout.sample_rate,
        layout.sample_rate * layout.frame_size,
        layout.frame_size,
        layout.bits,
    )
    if not is_plain:
        form += struct.pack(f"{order}HHIH", 22, layout.valid_bits, 0, layout.tag) + SUB_FORMAT
    size = struct.pack(f"{order}I", 4 + 8 + len(form) + 8 + n_bytes)
    chunk = b"fmt " + struct.pack(f"{order}I", len(form)) + form
    return name + size + b"WAVE" + chunk + b"data" + struct.pack(f"{order}I", n_bytes)
