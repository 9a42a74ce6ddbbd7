"""Sound files made by hand, byte by byte, so that each field can be wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from sonyc_ml.sound.chunks import W64_RIFF, W64_TAIL

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # of a sub-format: 16 bits of tag, then this
W64_WAVE = b"wave" + W64_TAIL

Chunks = Iterable[tuple[bytes, bytes]]


def fmt(tag: int = PCM, n_channels: int = 1, sample_rate: int = 8000, bits: int = 16, order: str = "<") -> bytes:
    """What stands in a WAV file's ``fmt`` chunk; `tag` is the sub-format where `bits` is negative: extensible."""
    extensible, bits = bits < 0, abs(bits)
    frame_size = n_channels * bits // 8
    head = (EXTENSIBLE if extensible else tag, n_channels, sample_rate, sample_rate * frame_size, frame_size, bits)
    content = struct.pack(f"{order}HHIIHH", *head)
    return content + struct.pack(f"{order}HHIH", 22, bits, 0, tag) + GUID_TAIL if extensible else content


def chunk(name: bytes, content: bytes, length: int | None = None, order: str = "<") -> bytes:
    """One chunk, padded to an even length; `length` is what it says, where that is not so."""
    return (
        name
        + struct.pack(f"{order}I", len(content) if length is None else length)
        + content
        + b"\0" * (len(content) % 2)
    )


def wav(
    sound: bytes, form: bytes | None = None, *, promised: int | None = None, before: Chunks = (), magic: bytes = b"RIFF"
) -> bytes:
    """A WAV file; `promised` is what its header says is the length of the sound, `before` other chunks."""
    order = ">" if magic == b"RIFX" else "<"
    chunks = [chunk(b"fmt ", fmt(order=order) if form is None else form, order=order)]
    chunks += [chunk(name, content, order=order) for name, content in before]
    body = b"WAVE" + b"".join(chunks) + chunk(b"data", sound, promised, order)
    return magic + struct.pack(f"{order}I", len(body)) + body


def rf64(sound: bytes, *, promised: int | None = None, before: Chunks = ()) -> bytes:
    """An RF64 file: its lengths stand in a ``ds64`` chunk, in 64 bits."""
    large = struct.pack("<QQQI", 0, len(sound) if promised is None else promised, len(sound) // 2, 0)
    body = b"WAVE" + chunk(b"ds64", large) + chunk(b"fmt ", fmt())
    body += b"".join(chunk(name, content) for name, content in before) + chunk(b"data", sound, 0xFFFFFFFF)
    return b"RF64\xff\xff\xff\xff" + body


def w64(sound: bytes, *, promised: int | None = None, before: Chunks = ()) -> bytes:
    """A Wave64 file: 16 bytes of name, 64 bits of length, which counts these 24 bytes too."""

    def chunk64(name: bytes, content: bytes, length: int | None = None) -> bytes:
        length = len(content) if length is None else length
        return name + W64_TAIL + struct.pack("<Q", length + 24) + content + bytes(-len(content) % 8)

    body = W64_WAVE + chunk64(b"fmt ", fmt()) + b"".join(chunk64(name, content) for name, content in before)
    body += chunk64(b"data", sound, promised)
    return W64_RIFF + struct.pack("<Q", len(body) + 24) + body


def aiff(sound: bytes, *, promised: int | None = None, before: Chunks = ()) -> bytes:
    """An AIFF file of 16 bits at 8 kHz; the rate is an 80-bit float."""
    common = struct.pack(">hIh", 1, len(sound) // 2, 16) + struct.pack(">HQ", 16383 + 12, 8000 << (63 - 12))
    body = b"AIFF" + chunk(b"COMM", common, order=">")
    body += b"".join(chunk(name, content, order=">") for name, content in before)
    body += chunk(b"SSND", bytes(8) + sound, None if promised is None else promised + 8, ">")
    return b"FORM" + struct.pack(">I", len(body)) + body


def ogg_page(content: bytes, flags: int = 0, number: int = 0) -> bytes:
    """A page of an Ogg file; flag 4 marks the last."""
    lacing = [255] * (len(content) // 255) + [len(content) % 255]
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 0, 1, number, 0, len(lacing)) + bytes(lacing)
    page = head + content
    return page[:22] + struct.pack("<I", _ogg_crc(page)) + page[26:]


def _ogg_crc(page: bytes) -> int:
    """The checksum as RFC 3533 defines it, bit by bit."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return crc


def bext(date: str, time: str) -> bytes:
    """What stands in a ``bext`` chunk of version 0 that says when the sound begins (EBU Tech 3285)."""
    return bytes(256 + 32 + 32) + date.encode().ljust(10, b"\0") + time.encode().ljust(8, b"\0") + bytes(264)


def info(comment: str) -> bytes:
    """What stands in a ``LIST`` chunk that holds a comment."""
    return b"INFO" + chunk(b"ICMT", comment.encode() + b"\0")


def guano(timestamp: str) -> bytes:
    """What stands in a ``guan`` chunk that says when the sound begins."""
    return f"GUANO|Version: 1.0\nMake: Example\nTimestamp: {timestamp}\nModel: X\n".encode()


SYNTHETIC = {
    "pcm8.wav": ("WAV", "PCM_U8"),
    "pcm16.wav": ("WAV", "PCM_16"),
    "pcm24.wav": ("WAV", "PCM_24"),
    "float32.wav": ("WAV", "FLOAT"),
    "float64.wav": ("WAV", "DOUBLE"),
    "mulaw.wav": ("WAV", "ULAW"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "extensible.wav": ("WAVEX", "PCM_16"),
    "pcm16.rf64": ("RF64", "PCM_16"),
    "pcm16.w64": ("W64", "PCM_16"),
    "pcm16.aiff": ("AIFF", "PCM_16"),
    "pcm16.flac": ("FLAC", "PCM_16"),
    "vorbis.ogg": ("OGG", "VORBIS"),
    "pcm24.flac": ("FLAC", "PCM_24"),
    "opus.ogg": ("OGG", "OPUS"),
    "pcm24.aiff": ("AIFF", "PCM_24"),
    "float32.aifc": ("AIFF", "FLOAT"),
}
