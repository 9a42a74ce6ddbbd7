"""A file to the one who reads its sound: libsndfile, libsndfile under another header, or :class:`RawSound`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import soundfile

from sonyc_ml.base.identity import state_of
from sonyc_ml.base.process import quiet_stderr
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import EmptyRecordingError, UnfinishedRecordingError, UnreadableRecordingError
from sonyc_ml.sound import flac, mp3, ogg
from sonyc_ml.sound.chunks import container_of, find_end
from sonyc_ml.sound.failures import code_of, failure, reason_of, system_failure
from sonyc_ml.sound.header import check_header, find_layout
from sonyc_ml.sound.parts import Parts
from sonyc_ml.sound.triggered import Segment, find_segments
from sonyc_ml.sound.unfinished import RawSound, in_place

# The kinds of files that are read, by their first bytes: libsndfile tries MP3 on anything else, noisily.
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"fLaC", b"OggS", b"FORM")
FORMATS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "AIFF", "MP3")
# What is often seen beside them, by its first bytes, and its name.
OTHER_KINDS = {
    b"caff": "a CAF file",
    b"MThd": "a MIDI file",
    b".snd": "an AU file",
    b"\x1aE\xdf\xa3": "a Matroska or WebM file",
    b"0&\xb2u": "a WMA file",
    b"MAC ": "a Monkey's Audio file",
    b"wvpk": "a WavPack file",
    b"PK\x03\x04": "a zip archive",
}
SAMPLE_RATES_HZ = range(1000, 1_000_001)  # beyond them it is a damaged header, not a recorder
SMALLEST_SIZE = 16  # bytes: no kind of file can be told, or be whole, with less
UNKNOWN_LENGTH = 1 << 62  # what libsndfile says, at least, where a header leaves the length open

Sound: TypeAlias = soundfile.SoundFile | RawSound


@dataclass(frozen=True, slots=True)
class Opened:
    """The sound of a file.

    Attributes
    ----------
    sound : soundfile.SoundFile or RawSound
    salvaged : bool
        Whether this is what there is of a file that says otherwise.
    note : str
        What was taken to be other than the file says; empty for most.
    segments : tuple of Segment
        The stretches of sound without a gap; more than one, or not from 0, for a triggered recording.
    n_elapsed : int
        Length in time (in samples).
    n_spanned : int
        Samples of each channel between the first and the last byte that was taken for sound, or for time without.
    n_unread : callable
        How many bytes of frames lie behind those that the decoder has read; 0 where nobody can tell.
    """

    sound: Sound
    salvaged: bool
    note: str
    segments: tuple[Segment, ...]
    n_elapsed: int
    n_spanned: int
    n_unread: Callable[[], int] = lambda: 0


@contextmanager
def open_sound(path: Path, descriptor: int, status: os.stat_result, *, salvage: bool) -> Iterator[Opened]:
    """Check a file and open its sound; see :func:`sonyc_ml.sound.files.open_recording`."""
    state = state_of(status)
    try:
        _check_kind(descriptor, status)
        opened = _open(descriptor, status.st_size, salvage=salvage)
    except (UnreadableRecordingError, EmptyRecordingError) as error:
        raise type(error)(f"{path}: {error}") from None
    except OSError as error:
        raise system_failure(path, error) from error
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise failure(path, descriptor, state, reason_of(error), code_of(error)) from error
    with opened.sound:
        try:
            _check_sound(opened.sound)
            opened = _segmented(path, descriptor, status.st_size, opened)
        except (UnreadableRecordingError, EmptyRecordingError) as error:
            raise type(error)(f"{path}: {error}") from None
        except OSError as error:
            raise system_failure(path, error) from error
        yield opened


def _check_kind(descriptor: int, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableRecordingError("it is not a file but a folder, a pipe or a device")
    if status.st_size == 0:
        raise EmptyRecordingError("it is an empty file")
    head = os.pread(descriptor, 12, 0)
    behind_tag = flac.id3_length(head)
    inside = os.pread(descriptor, 12, behind_tag) if behind_tag else head
    if (behind_tag and inside[:4] == flac.MAGIC) or mp3.read_frame(inside):
        return
    if behind_tag and any(inside[:4] == known for known in MAGIC):
        raise UnreadableRecordingError(
            f"an ID3 tag of {behind_tag:,} bytes stands before its sound, which is read before FLAC and MP3 alone; "
            "remove the tag"
        )
    if not any(known.startswith(head[:4]) for known in MAGIC):
        raise UnreadableRecordingError(_other_kind(head))
    if status.st_size < SMALLEST_SIZE:
        raise UnfinishedRecordingError(f"it is truncated: it ends after {status.st_size} bytes, within its header")


def _other_kind(head: bytes) -> str:
    """What a file is that is not read."""
    name = "an MP4 or M4A file" if head[4:8] == b"ftyp" else OTHER_KINDS.get(head[:4], "")
    if head[:3] == b"ID3":
        name = "an ID3 tag, and behind it sound"
    elif len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 in (0xF0, 0xF4, 0xF6):
        name = "a file of MPEG sound, such as AAC or MP2,"
    if name:
        return f"it is {name} of a kind that is not read; WAV, FLAC, Ogg, AIFF and MP3 are"
    return "it is not a sound file of a kind that is read (WAV, FLAC, Ogg, AIFF, MP3)"


def _opened(sound: Sound, note: str = "", *, salvaged: bool = False, n_unread: Callable[[], int] = lambda: 0) -> Opened:
    """A sound in one piece."""
    return Opened(sound, salvaged, note, (Segment(0, sound.frames),), sound.frames, sound.frames, n_unread)


def _open(descriptor: int, size: int, *, salvage: bool) -> Opened:
    stream = flac.find_stream(descriptor, size, salvage=salvage)
    if stream is not None:
        return _open_flac(descriptor, size, stream, salvage=salvage)
    start = _find_mp3(descriptor, size)
    if start is not None:
        return _open_mp3(descriptor, Parts(descriptor, [(0, size)]), start, salvage=salvage)
    try:
        check_header(descriptor, size)
    except UnfinishedRecordingError as error:
        sound = _salvaged(descriptor, size) if salvage else None
        if sound is None:
            raise
        return _opened(sound, str(error).partition(";")[0], salvaged=True)
    layout = find_layout(descriptor, size, trusts_header=True)
    if layout is not None and layout.valid_bits < layout.bits and layout.n_samples > 0:
        placed = in_place(descriptor, layout)
        is_low = placed.valid_bits < placed.bits
        note = f"its {placed.valid_bits} bits lie at the lower end of {placed.bits}" if is_low else ""
        return _opened(RawSound(descriptor, placed, comment_of(descriptor)), note)
    # One of its own: where libsndfile 1.2.0 fails it closes the one that it was given, whatever it was told.
    return _opened(soundfile.SoundFile(os.dup(descriptor), closefd=True))


def _open_flac(descriptor: int, size: int, stream: Parts, *, salvage: bool) -> Opened:
    found = flac.measure(stream)
    promised, held = found.promised, found.n_samples
    if promised == held:
        is_native = len(stream) == size  # neither behind a tag nor in pages
        note = "" if is_native else "it is FLAC in a file of another kind"

        def n_unread() -> int:  # a duplicate has its position in common with the descriptor
            position = os.lseek(descriptor, 0, os.SEEK_CUR) if is_native else stream.tell()
            return flac.count_behind(stream, position, found.end)

        source = soundfile.SoundFile(os.dup(descriptor) if is_native else stream, closefd=is_native)
        return _opened(source, note, n_unread=n_unread)
    if found.is_cut and not salvage:
        raise UnfinishedRecordingError(
            f"it is truncated: it ends within a frame, after {held:,} samples; the recorder is still writing it, or "
            "was stopped"
        )
    if 0 < promised < held and not salvage:
        raise UnfinishedRecordingError(
            f"it holds more than its header says: {held:,} samples, not {promised:,}; the recorder is still writing "
            "it, or its header was not brought up to date"
        )
    said = f"{promised:,}" if promised else "no number of"
    note = f"its header says {said} samples, it holds {held:,}"
    whole = flac.with_length(stream, found)
    is_salvaged = promised > 0 or found.is_cut
    return _opened(
        soundfile.SoundFile(whole),
        note,
        salvaged=is_salvaged,
        n_unread=lambda: flac.count_behind(whole, whole.tell(), found.end),
    )


def _find_mp3(descriptor: int, size: int) -> int | None:
    """Where the frames of an MP3 file begin; None where it is none.

    Raises
    ------
    UnreadableRecordingError
        It looks like one, and is none; or the decoder does not know MP3.
    """
    start = flac.id3_length(os.pread(descriptor, 10, 0))
    if mp3.read_frame(os.pread(descriptor, mp3.HEADER_LENGTH, start)) is None:
        return None
    if not mp3.find_frames(Parts(descriptor, [(0, size)]), start):
        raise UnreadableRecordingError(_other_kind(b""))
    if "MP3" not in soundfile.available_formats():
        raise UnreadableRecordingError(
            f"it is an MP3 file, which libsndfile {soundfile.__libsndfile_version__} does not read, as 1.1 does; "
            "convert it to WAV or FLAC"
        )
    return start


def _open_mp3(descriptor: int, stream: Parts, start: int, *, salvage: bool) -> Opened:
    found = mp3.measure(stream, start)
    promised, held = found.promised, found.n_frames
    if held == 0:
        raise EmptyRecordingError("it has a header and no sound")
    if promised is not None and not found.is_cut and found.is_as_promised:
        with quiet_stderr():
            return _opened(soundfile.SoundFile(os.dup(descriptor), closefd=True))
    said = f"its header says {promised:,} frames, it holds {held:,}" if promised is not None else ""
    cut = f"it is truncated: it ends within a frame, after {held:,} frames" if found.is_cut else ""
    if (said or cut) and not salvage:
        raise UnfinishedRecordingError(f"{cut or said}; the recorder is still writing it, or was stopped")
    with quiet_stderr():
        source = soundfile.SoundFile(mp3.with_length(stream, found))
    return _opened(source, cut or said, salvaged=bool(cut or said))


def _salvaged(descriptor: int, size: int) -> Sound | None:
    """The sound of a file that `check_header` calls unfinished, if there are whole samples or pages; else None."""
    if os.pread(descriptor, 4, 0) == b"OggS":
        pages = ogg.whole_pages(descriptor, size)
        try:
            sound = soundfile.SoundFile(Parts(descriptor, [(0, pages[-1].end)])) if pages else None
        except (soundfile.LibsndfileError, RuntimeError):
            return None
        return sound if sound is not None and 0 < sound.frames < UNKNOWN_LENGTH else None
    layout = find_layout(descriptor, size)
    if layout is None or layout.n_samples == 0:
        return None
    return RawSound(descriptor, in_place(descriptor, layout), comment_of(descriptor))


def _check_sound(sound: Sound) -> None:
    if sound.format not in FORMATS:
        raise UnreadableRecordingError(f"{sound.format} files are not read; convert it to WAV or FLAC")
    if sound.samplerate not in SAMPLE_RATES_HZ:
        raise UnreadableRecordingError(f"its header says {sound.samplerate:,} Hz, which no recorder uses")
    if sound.frames < 1:
        raise EmptyRecordingError("it has a header and no sound")
    if sound.frames >= UNKNOWN_LENGTH:
        raise UnfinishedRecordingError(
            f"its header does not say how long it is: its {sound.format} encoder is still at work, was stopped, or "
            "wrote to a pipe; encode it again from a file to a file"
        )


def _segmented(path: Path, descriptor: int, size: int, opened: Opened) -> Opened:
    """The same with its stretches of sound, read without what stands for time that was not recorded."""
    sound = opened.sound
    if sound.channels == 1 and sound.subtype in ("PCM_16", "RAW"):
        layout = find_layout(descriptor, size, trusts_header=not opened.salvaged)
        comment = str(sound.comment)
        found = find_segments(descriptor, layout, path.name, comment) if layout is not None else None
        if layout is not None and found is not None:
            n_lost = found.n_elapsed - sum(segment.n_samples for segment in found.segments)
            note = (
                f"it is a triggered recording: {n_lost / sound.samplerate:.1f} s of "
                f"{found.n_elapsed / sound.samplerate:.1f} s were below the threshold and are not in it"
            )
            notes = "; ".join(filter(None, (opened.note, note)))
            raw = RawSound(descriptor, layout, comment, found.pieces)
            return Opened(raw, opened.salvaged, notes, found.segments, found.n_elapsed, layout.n_samples)
    return opened


def comment_of(descriptor: int) -> str:
    """The comment of an unfinished file, which libsndfile reads although it sees no sound."""
    try:
        with soundfile.SoundFile(os.dup(descriptor), closefd=True) as sound:
            return str(sound.comment)
    except (soundfile.LibsndfileError, RuntimeError):
        return ""


def count_left(descriptor: int, size: int, n_spanned: int) -> int:
    """Samples of each channel that a file holds, by its size or its frames alone, beyond those that were taken from it.

    Of kinds whose sound has no size, nothing is known: 0.

    Raises
    ------
    SonycMLError, OSError
        The file cannot be looked at.
    """
    stream = flac.find_stream(descriptor, size, salvage=True)
    if stream is not None:
        return max(0, flac.measure(stream).n_samples - n_spanned)
    start = _find_mp3(descriptor, size)
    if start is not None:
        n_left = mp3.measure(Parts(descriptor, [(0, size)]), start).n_samples - n_spanned
        return n_left if n_left > mp3.MAX_DELAY else 0
    container, trusted = container_of(descriptor), find_layout(descriptor, size, trusts_header=True)
    if container is None or trusted is None:
        return 0
    end = find_end(descriptor, size, container, trusted.position + trusted.n_bytes)
    return max(0, (end - trusted.position) // trusted.frame_size - n_spanned)
