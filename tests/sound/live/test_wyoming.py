"""Wyoming's events: what is written is read again, whatever the bytes' way, and everything else is a sentence."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml import errors
from sonyc_ml.sound.live.answers import OUTPUTS, encode_error, encode_outputs, read_error, read_outputs
from sonyc_ml.sound.live.audio_format import AudioFormat, read_audio_format
from sonyc_ml.sound.live.wyoming import MAX_LINE_LENGTH, Event, EventReader, encode
from tests.conftest import examples, needs

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)
EVENTS = st.builds(
    Event,
    st.text(min_size=1, max_size=20),
    st.dictionaries(st.text(max_size=10), JSON, max_size=4),
    st.binary(max_size=300),
)


def bytes_of(event: Event) -> bytes:
    """All that is sent of an event."""
    return encode(event.type, event.data, len(event.payload)) + event.payload


def read_in_pieces(content: bytes, cuts: list[int]) -> list[Event]:
    """The events of some bytes that come in pieces."""
    reader, found, ends = EventReader(), [], sorted(cut % (len(content) + 1) for cut in cuts)
    for start, end in zip([0, *ends], [*ends, len(content)], strict=True):
        found += list(reader.feed(content[start:end]))
    reader.end()
    return found


@examples(100)
@given(st.lists(EVENTS, max_size=4), st.lists(st.integers(0, 5000), max_size=12))
def test_events_come_back_however_they_are_cut(events: list[Event], cuts: list[int]) -> None:
    """Writer and reader agree on every event, and pieces of any size make no difference."""
    assert read_in_pieces(b"".join(map(bytes_of, events)), cuts) == events


@examples(300)
@given(
    st.one_of(
        st.binary(max_size=200), st.lists(EVENTS, min_size=1, max_size=2).map(lambda es: b"".join(map(bytes_of, es)))
    ),
    st.integers(0, 400),
    st.binary(max_size=3),
)
def test_anything_is_read_or_refused_in_a_sentence(content: bytes, position: int, other: bytes) -> None:
    """Bytes of every kind, and events with some of them replaced: nothing but a ProtocolError, and that for good."""
    position %= len(content) + 1
    reader = EventReader(max_payload_length=1000)
    content = content[:position] + other + content[position + len(other) :]
    reason = ""
    try:
        list(reader.feed(content))
        reader.end()
    except errors.ProtocolError as error:
        reason = str(error)
    assert reason.isprintable()


def test_an_error_is_for_good_and_what_came_before_it_is_given() -> None:
    """The events before a bad one are there; after it there is nothing but the same sentence."""
    reader = EventReader()
    coming = reader.feed(encode("describe") + b"RIFF\x00\x00\x00\x00WAVE" + encode("describe"))
    assert next(coming) == Event("describe", {})
    with pytest.raises(errors.ProtocolError, match=r"not 'RIFF"):
        next(coming)
    with pytest.raises(errors.ProtocolError, match="RIFF"):
        list(reader.feed(encode("describe")))
    with pytest.raises(errors.ProtocolError, match="RIFF"):
        reader.end()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"type": "a"', "within a line"),
        (b'{"type": "a", "payload_length": 4}\nabc', "within the event 'a', after 3 of the 4 bytes"),
        (b'{"type": "a", "payload_length": -1}\n', "payload_length of the event 'a' must be from 0"),
        (b'{"type": "a", "payload_length": true}\n', "not True"),
        (b'{"type": "a", "payload_length": 99999999999}\n', "not 99999999999"),
        (b'{"type": "a", "data_length": 2.0}\n', "data_length"),
        (b'{"type": "a", "data_length": 2}\n[]', "data of the event 'a' must be an object"),
        (b'{"type": "a", "data": 3}\n', "data of the event 'a' must be an object, not 3"),
        (b'{"data": {}}\n', "must say its type"),
        (b'{"type": 3}\n', "must say its type"),
        (b"\n", "must be an object of JSON"),
        (b"RIFF", "must begin an event"),
        (b" \n", "must be an object of JSON"),
        (b"{" * 60_000 + b"\n", "must be an object of JSON"),
        (b"{" + b" " * MAX_LINE_LENGTH, "longer than 65,536 bytes"),
    ],
)
def test_what_is_no_event(content: bytes, reason: str) -> None:
    """Each kind of nonsense has its sentence, which shows what was seen."""
    with pytest.raises(errors.ProtocolError, match=reason):
        read_in_pieces(content, [])


def test_data_in_the_line_and_behind_it() -> None:
    """Both are data; what comes behind the line goes before it. Unknown keys are left out."""
    further = json.dumps({"rate": 16000}).encode()
    line = {"type": "audio-start", "version": "1.8", "data": {"rate": 1, "width": 2}, "data_length": len(further)}
    (event,) = EventReader().feed(json.dumps(line).encode() + b"\n" + further)
    assert event == Event("audio-start", {"rate": 16000, "width": 2})


@needs("wyoming")
@examples(50)
@given(EVENTS)
def test_the_reference_implementation_agrees(event: Event) -> None:
    """The package of PyPI reads what we write, and we read what it writes."""
    from wyoming.event import Event as Theirs
    from wyoming.event import read_event, write_event

    theirs: Any = read_event(io.BytesIO(bytes_of(event)))
    assert Event(theirs.type, theirs.data, theirs.payload or b"") == event
    written = io.BytesIO()
    write_event(Theirs(event.type, event.data, event.payload), written)
    assert read_in_pieces(written.getvalue(), [7]) == [event]


@needs("wyoming")
@pytest.mark.filterwarnings("ignore:'audioop' is deprecated:DeprecationWarning")  # which it imports
def test_the_reference_implementation_describes_sound_alike() -> None:
    """Its audio-start says what ours says; a time stamp that it does not know is no trouble."""
    from wyoming.audio import AudioStart

    audio = AudioFormat(48000, 2, 2)
    assert read_audio_format(AudioStart(48000, 2, 2).event().data) == audio
    theirs = AudioStart.from_event(AudioStart(**audio.data).event())
    assert (theirs.rate, theirs.width, theirs.channels) == audio[:3]


@pytest.mark.parametrize("audio", [AudioFormat(48000, 3, 2), AudioFormat(8000, 4, 1, is_float=True)])
def test_formats_come_back(audio: AudioFormat) -> None:
    """What is said of samples is understood."""
    assert read_audio_format(audio.data) == audio


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"rate": None}, r"rate \(.*\) is missing"),
        ({"rate": 0}, "cannot be 0"),
        ({"rate": 16000.0}, r"cannot be 16000\.0"),
        ({"rate": True}, "cannot be True"),
        ({"width": 1}, r"width .*: 2, 3, 4\) cannot be 1"),
        ({"width": 2, "format": "float"}, r"4, 8\) cannot be 2"),
        ({"channels": "2"}, "cannot be '2'"),
        ({"format": "mulaw"}, "format must be 'int' or 'float', not 'mulaw'"),
        ({"format": []}, "rate|format|width"),
    ],
)
def test_formats_that_no_sound_has(changed: dict[str, Any], reason: str) -> None:
    """What is missing or cannot be is named."""
    data = AudioFormat(16000, 2, 1).data | changed
    if changed == {"format": []}:  # false, as if it were not there
        assert read_audio_format(data) == AudioFormat(16000, 2, 1)
        return
    with pytest.raises(errors.ProtocolError, match=reason):
        read_audio_format(data)


def test_outputs_come_back() -> None:
    """Arrays of every kind that outputs hold come back bit for bit, in any byte order and of no windows too."""
    arrays = {
        "timestamps": np.arange(3.0).astype(">f8"),
        "embedding": np.arange(6, dtype=np.float32).reshape(3, 2)[:, ::-1],
        "scores": np.zeros((0, 5), np.float16),
        "levels": np.arange(3, dtype=np.int8),
        "names": np.array(["dog", "Säge"]),
    }
    (event,) = EventReader().feed(encode_outputs(arrays, source="street"))
    found = read_outputs(event)
    assert (event.type, event.data["source"], list(found)) == (OUTPUTS, "street", list(arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype.newbyteorder("="), found[name].shape) == (array.dtype.newbyteorder("="), array.shape)
        assert found[name].flags.writeable


@pytest.mark.parametrize(
    "arrays",
    [
        None,
        [3],
        [{"name": "a", "dtype": "O", "shape": [1]}],
        [{"name": "a", "dtype": "f4", "shape": [-1]}],
        [{"name": "a", "dtype": "f4", "shape": [3]}],
        [{"name": "a", "dtype": "f4", "shape": [1]}],
        [{"name": "a", "dtype": "nonsense", "shape": [2]}],
        [{"dtype": "f4", "shape": [2]}],
        [{"name": "a", "dtype": "f4", "shape": [1 << 62, 4]}],
    ],
)
def test_outputs_that_do_not_fit_their_bytes(arrays: Any) -> None:
    """A description that does not fit is refused: nothing is unpickled, reached for or left over."""
    with pytest.raises(errors.ProtocolError, match="array"):
        read_outputs(Event(OUTPUTS, {"arrays": arrays}, bytes(8)))


def test_errors_are_raised_again_as_what_they_were() -> None:
    """A class of ours or of Python's comes back as itself; another, or none, as a RuntimeError that says so."""
    for error in (errors.BundleIntegrityError("a"), ValueError("b"), errors.VanishedRecordingError("c")):
        (event,) = EventReader().feed(encode_error(error))
        found = read_error(event)
        assert (type(found), str(found)) == (type(error), str(error))
    for code in ("KeyboardInterrupt", "SystemExit", "print", "UnicodeDecodeError", "Strange", 7):
        assert "n" in str(found := read_error(Event("error", {"code": code, "text": "n"})))
        assert type(found) is RuntimeError
    assert str(read_error(Event("error", {}))) == "no reason was given"
