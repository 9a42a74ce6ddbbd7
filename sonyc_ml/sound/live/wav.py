"""The header of a WAV stream: what arecord, SoX, ffmpeg and GStreamer write into a pipe, whose length nobody knows."""

from __future__ import annotations

import struct

from sonyc_ml.errors import ProtocolError
from sonyc_ml.sound.header import STREAMING_SIZES, Layout, promised_length, wav_layout
from sonyc_ml.sound.live.formats import check_layout

MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64")
MAX_HEADER_LENGTH = 1 << 20  # bytes before the sound: chunks of metadata may be long, and no recorder's are longer

UNKNOWN_LENGTHS = (0, *STREAMING_SIZES)


class WavHeader:
    """Reads a header out of bytes, however these arrive.

    Attributes
    ----------
    layout : Layout or None
        Of the samples, once the header is read.
    n_left : int or None
        How many bytes of sound follow; None where nobody knows, as in a pipe.
    """

    def __init__(self) -> None:
        self.layout: Layout | None = None
        self.n_left: int | None = None
        self._received = bytearray()
        self._form = b""
        self._position = 12  # of the next chunk

    def feed(self, content: bytes | memoryview) -> bytes:
        """Take bytes in; return those behind the header, where all of it has come.

        Raises
        ------
        ProtocolError
            It is no WAV header, or one of sound that needs a decoder.
        """
        self._received += content
        if len(self._received) >= 12 and self._received[8:12] != b"WAVE":
            raise ProtocolError(f"a RIFF stream that holds {bytes(self._received[8:12])!r}, and not WAVE")
        while self._chunk():
            pass
        if self.layout is None:
            if len(self._received) > MAX_HEADER_LENGTH:
                raise ProtocolError(f"the header of a WAV stream goes on for {len(self._received):,} bytes")
            return b""
        rest = bytes(self._received[self._position :])
        self._received.clear()
        return rest

    def _chunk(self) -> bool:
        """Read the next chunk, where it has come; False where it has not, or the sound begins."""
        if self.layout is not None or len(self._received) < self._position + 8:
            return False
        order = ">" if self._received[:4] == b"RIFX" else "<"
        name, length = struct.unpack_from(f"{order}4sI", self._received, self._position)
        begin = self._position + 8
        if name == b"data":
            self._begin(order, length)
            self._position = begin
            return False
        end = begin + length + length % 2
        if end > MAX_HEADER_LENGTH:
            raise ProtocolError(f"the chunk {name!r} in the header of a WAV stream is {length:,} bytes long")
        if len(self._received) < end:
            return False
        if name == b"fmt ":
            self._form = bytes(self._received[begin:end])
        self._position = end
        return True

    def _begin(self, order: str, length: int) -> None:
        layout = wav_layout(self._form, order, 0, 0)
        if layout is None:
            what = "before any format" if not self._form else f"of format {self._form[:16].hex(' ')}, not PCM or float"
            raise ProtocolError(f"a WAV stream with sound {what}")
        try:
            check_layout(layout)
        except ValueError as error:
            raise ProtocolError(f"a WAV stream that cannot be: {error}") from error
        is_known = length not in UNKNOWN_LENGTHS and promised_length(length) is not None
        self.n_left = length if is_known else None
        self.layout = layout
