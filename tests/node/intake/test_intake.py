"""Live sound through real pipes, sockets and commands, to outputs and the journal: every sample once, or on record."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.base.human import seconds_of
from sonyc_ml.errors import ConfigError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import Config, load_config
from sonyc_ml.node.events import NodeEvent, RecordingEnded
from sonyc_ml.node.intake.intake import Intake
from sonyc_ml.node.intake.pacing import READ_SIZE
from sonyc_ml.node.journal.journal import Entry, Journal, open_journal
from sonyc_ml.node.operate.audit import audit
from sonyc_ml.node.running_bundles import RunningBundles
from sonyc_ml.node.worker import Worker
from sonyc_ml.outputs.files import read_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.live.answers import read_outputs
from sonyc_ml.sound.live.audio_format import AudioFormat
from sonyc_ml.sound.live.formats import raw_layout
from sonyc_ml.sound.live.wyoming import Event, EventReader, encode
from tests.conftest import needs
from tests.support.live import cut_at, samples, wav_header, write_wav

RATE = 8000
LAYOUT = raw_layout(RATE)
CONTENT = samples("S16_LE", 2 * RATE + 400, 1)  # at a segment of 0.5 s: four recordings and a short one
SEGMENT = RATE  # bytes


PATIENCE_S = 40.0


class Node:
    """Live sound and a worker, as the daemon puts them together."""

    def __init__(self, folder: Path, bundle: Path, sources: str, more: str, segment_s: float) -> None:
        text = f'[model]\npath = "{bundle}"\n[output]\nfolder = "out"\n[listen]\n'
        text += f"segment_s = {segment_s}\n{more}\n{sources}"
        (folder / "sonyc-ml.toml").write_text(text)
        self.config: Config = load_config(folder / "sonyc-ml.toml", {})
        self.folder, self.events = folder, list[NodeEvent]()
        self._come = threading.Event()
        self.bundles = RunningBundles(self.config.model, self.config.output)
        self.intake = Intake(self.config.listen, self.config.spool.folder, self.bundles, self._come.set)
        self.journal: Journal = open_journal(self.config.state_folder)
        self.worker = Worker(
            self.config.spool.folder,
            self.journal,
            self.bundles,
            lambda _name: False,
            output=self.config.output,
            emit=self._emit,
            live=self.intake.queue,
        )
        self.worker.start()

    def _emit(self, event: NodeEvent) -> None:
        self.events.append(event)
        self.intake.queue.on_event(event)

    def work(self, is_done: Callable[[], bool]) -> None:
        """Embed what comes until it is enough."""
        end_s = time.monotonic() + PATIENCE_S
        while not is_done():
            assert time.monotonic() < end_s, f"it takes too long: {self.ended()}"
            self.worker.shed_excess()
            if not self.worker.step():
                self.worker.work_ahead()
                self._come.wait(0.02)
                self._come.clear()

    def work_until_ended(self, n: int) -> list[RecordingEnded]:
        self.work(lambda: len(self.ended()) >= n)
        return self.ended()

    def ended(self) -> list[RecordingEnded]:
        return [event for event in self.events if isinstance(event, RecordingEnded)]

    def done(self) -> list[Entry]:
        return sorted(self.journal.entries("done"), key=lambda entry: entry.start_s or 0.0)

    def output(self, entry: Entry) -> Output:
        return read_output(self.config.output.folder / f"{entry.identity.name}.npz")

    def audit(self) -> dict[str, Any]:
        (answer,) = audit(self.journal, 0.0, time.time() + 60)["sources"]
        return dict(answer)

    def close(self) -> None:
        self.intake.__exit__()
        self.journal.close()


MakeNode = Callable[..., Node]


@pytest.fixture
def make_node(tmp_path: Path, tiny_bundle: Path) -> Iterator[MakeNode]:
    nodes: list[Node] = []

    def make(source: str = 'socket = "a.sock"', more: str = "", *, starts: bool = True, segment_s: float = 0.5) -> Node:
        source = source if source.startswith("[[") else f'[[listen.source]]\nname = "street"\n{source}'
        nodes.append(Node(tmp_path, tiny_bundle, source, more, segment_s))
        if starts:
            nodes[-1].intake.__enter__()
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def model(tiny_bundle: Path) -> Model:
    return load_model(tiny_bundle)


@pytest.fixture
def processes() -> None:
    """Skip where no process may be started: not in the middle of a test, on another thread."""
    subprocess.run(["true"], check=True)


def connect(node: Node, name: str = "a.sock") -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(node.folder / name))
    return connection


def sender(content: bytes, pause_s: float = 0.0, then: str = "") -> str:
    """A command that writes this, and perhaps waits before the rest of it."""
    half = len(content) // 2
    program = (
        "import sys, time, base64; o = sys.stdout.buffer; c = open(sys.argv[1], 'rb').read(); "
        f"o.write(c[:{half}]); o.flush(); time.sleep({pause_s}); o.write(c[{half}:]); o.flush(); {then}"
    )
    return json.dumps([sys.executable, "-c", program])


def with_file(command: str, path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return f"command = {json.dumps([*json.loads(command), str(path)])}"


def check_outputs(node: Node, model: Model, content: bytes = CONTENT) -> None:
    """The outputs are those of files of the same samples, bit for bit, and follow each other to the sample."""
    entries = node.done()
    assert len(entries) == -(-len(content) // SEGMENT)
    for number, entry in enumerate(entries):
        part = content[number * SEGMENT : (number + 1) * SEGMENT]
        wanted = model.embed_file(write_wav(node.folder / "wanted.wav", part, LAYOUT))
        output = node.output(entry)
        for kind, array in wanted.by_kind().items():
            np.testing.assert_array_equal(output.by_kind()[kind], array)
        np.testing.assert_array_equal(output.timestamps, wanted.timestamps)
        assert entry.start_s is not None
        assert entries[0].start_s is not None
        assert abs(entry.start_s - entries[0].start_s - number * 0.5) < 1 / RATE
        assert seconds_of(output.provenance.start_time) == pytest.approx(entry.start_s, abs=1 / RATE)
        assert (entry.salvaged, output.provenance.salvaged) == (len(part) < SEGMENT,) * 2
        assert (entry.fate, entry.duration_s) == ("live", len(part) / 2 / RATE)


def read_lines(connection: socket.socket) -> list[dict[str, Any]]:
    with connection.makefile("rb") as lines:
        return [json.loads(line) for line in lines]


# --- every way in -----------------------------------------------------------------------------------------------------


def test_a_socket_and_its_answers(make_node: MakeNode, model: Model, caplog: pytest.LogCaptureFixture) -> None:
    """WAV over a Unix socket for user and group; each output is answered on the connection as it is published."""
    caplog.set_level("INFO")
    node = make_node()
    assert (node.folder / "a.sock").stat().st_mode & 0o777 == 0o660
    with connect(node) as connection:
        for chunk in cut_at(wav_header(LAYOUT) + CONTENT, [1, 777, 3000]):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        node.work_until_ended(5)
        answers = read_lines(connection)
    check_outputs(node, model)
    assert [answer["recording"] for answer in answers] == [entry.identity.name for entry in node.done()]
    assert all(Path(answer["output"]).exists() for answer in answers)
    assert f"process {os.getpid()}, user {os.getuid()}" in caplog.text
    node.close()
    assert not (node.folder / "a.sock").exists()


def test_a_port_takes_raw_samples(make_node: MakeNode, model: Model) -> None:
    """On the loopback interface; what they are says the configuration."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    node = make_node(f"port = {port}\nsample_rate = {RATE}")
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(CONTENT)
        connection.shutdown(socket.SHUT_WR)
        node.work_until_ended(5)
    check_outputs(node, model)


def test_wyoming_with_arrays_for_answers(make_node: MakeNode, model: Model) -> None:
    """A voice satellite's events; answers bring the arrays, and the connection goes on."""
    node, audio = make_node(), AudioFormat(RATE, 2, 1)
    reader, found = EventReader(), list[Event]()
    with connect(node) as connection:
        connection.sendall(encode("describe") + encode("audio-start", {**audio.data, "source": "hall"}))
        for chunk in cut_at(CONTENT, [2048, 311]):
            connection.sendall(encode("audio-chunk", audio.data, len(chunk)) + chunk)
        connection.sendall(encode("audio-stop"))
        node.work_until_ended(5)
        while len(found) < 6:
            found += reader.feed(connection.recv(1 << 16))
    check_outputs(node, model)
    assert [event.type for event in found] == ["info"] + ["outputs"] * 5
    for event, entry in zip(found[1:], node.done(), strict=True):
        assert entry.identity.name.startswith("hall_")
        arrays = read_outputs(event)
        np.testing.assert_array_equal(arrays["embedding"], node.output(entry).embedding)


@needs("wyoming")
@pytest.mark.filterwarnings("ignore:'audioop' is deprecated:DeprecationWarning")  # theirs
def test_the_reference_client_is_understood(make_node: MakeNode, model: Model) -> None:
    """What Home Assistant's own package sends."""
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.event import write_event

    node = make_node()
    with connect(node) as connection, connection.makefile("wb") as file:
        write_event(AudioStart(RATE, 2, 1).event(), file)
        for chunk in cut_at(CONTENT, [2048]):
            write_event(AudioChunk(RATE, 2, 1, chunk, timestamp=1).event(), file)
        write_event(AudioStop().event(), file)
        file.flush()
        node.work_until_ended(5)
    check_outputs(node, model)


@pytest.mark.usefixtures("processes")
def test_a_command_is_started_again(make_node: MakeNode, model: Model, tmp_path: Path) -> None:
    """What it complained of when it failed is on record; the gap until it runs again, too."""
    then = "print('card 7 is gone', file=sys.stderr); sys.exit(3)"
    node = make_node(with_file(sender(CONTENT, then=then), tmp_path / "sound", wav_header(LAYOUT) + CONTENT))
    node.work_until_ended(5)
    check_outputs(node, model)
    node.work_until_ended(10)
    gap = node.audit()["gaps"][0]
    assert gap["reason"] == "source ended"
    assert "ended with status 3: card 7 is gone" in gap["detail"]
    assert node.audit()["seconds"]["done"] == pytest.approx(2 * len(CONTENT) / 2 / RATE)


@pytest.mark.usefixtures("processes")
def test_a_command_that_is_not_there_is_tried_again(make_node: MakeNode, caplog: pytest.LogCaptureFixture) -> None:
    """It costs a line, and the others go on."""
    node = make_node('command = ["/nowhere/arecord"]')
    node.work(lambda: "started again" in caplog.text)
    assert "/nowhere/arecord cannot be started: No such file or directory; it is started again in 1 s" in caplog.text


def test_several_connections_at_once(make_node: MakeNode) -> None:
    """Each has a name of its own, so that no two recordings have one name and one time."""
    node = make_node()
    connections = [connect(node) for _ in range(3)]
    for connection in connections:
        connection.sendall(wav_header(LAYOUT) + CONTENT[:SEGMENT])
    node.work_until_ended(3)
    for connection in connections:
        connection.sendall(CONTENT[SEGMENT:])
        connection.shutdown(socket.SHUT_WR)
    node.work_until_ended(15)
    names = {entry.identity.name.rpartition("_")[0] for entry in node.done()}
    assert (names, len(node.done())) == ({"street", "street-2", "street-3"}, 15)
    for connection in connections:
        connection.close()


def test_windows_run_on_across_the_cut(make_node: MakeNode, model: Model) -> None:
    """With gapless, windows begin every hop, whatever is cut where; no second is counted twice."""
    node = make_node(more="gapless = true")
    content = samples("S16_LE", 3 * RATE, 1)
    with connect(node) as connection:
        for chunk in cut_at(wav_header(LAYOUT) + content, [3000]):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        node.work_until_ended(6)
    whole = [entry for entry in node.done() if not entry.salvaged][:4]
    assert [entry.duration_s for entry in whole] == [0.5] * 4
    for number, entry in enumerate(whole):
        output, start = node.output(entry), number * SEGMENT
        np.testing.assert_allclose(output.timestamps, np.arange(5) / 10)
        reach = content[start : start + SEGMENT + round(0.9 * 2 * RATE)]
        wanted = model.embed_file(write_wav(node.folder / "wanted.wav", reach, LAYOUT))
        np.testing.assert_array_equal(output.embedding, wanted.embedding)
    assert sum(node.audit()["seconds"].values()) == pytest.approx(3.0)


def test_windows_that_cannot_run_on_are_refused(make_node: MakeNode) -> None:
    """A recording must be a whole number of hops."""
    with pytest.raises(ConfigError, match=r"gapless: windows of tiny begin every 0\.1 s, and segment_s = 0\.55"):
        make_node(more="gapless = true", segment_s=0.55)


# --- trouble ----------------------------------------------------------------------------------------------------------


def test_what_is_no_sound_is_said_once(make_node: MakeNode, caplog: pytest.LogCaptureFixture) -> None:
    """A connection with something else is closed, with what was seen; others may connect."""
    node = make_node()
    with connect(node) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert connection.recv(100) == b""
    assert "street: what came is an HTTP request, neither WAV nor Wyoming's events: it begins with b'GET" in caplog.text


def test_a_client_that_hangs_up_costs_nothing(make_node: MakeNode, model: Model) -> None:
    """Its sound is embedded all the same."""
    node = make_node()
    with connect(node) as connection:
        connection.sendall(wav_header(LAYOUT) + CONTENT)
    node.work_until_ended(5)
    check_outputs(node, model)


def live_source(node: Node, seconds: float) -> None:
    """Send silence with a little noise, in its own time and without a pause."""
    with connect(node) as connection:
        connection.sendall(wav_header(LAYOUT))
        begin_s, n_sent = time.monotonic(), 0
        while n_sent < seconds * RATE:
            n_due = min(round((time.monotonic() - begin_s) * RATE), round(seconds * RATE))
            connection.sendall(samples("S16_LE", n_due - n_sent, 1))
            n_sent = n_due
            time.sleep(0.02)


def test_a_full_buffer_gives_up_the_oldest_and_says_so(make_node: MakeNode) -> None:
    """While nobody embeds, the reader goes on; what there is no room for is shed with its length."""
    node = make_node(more="max_buffer_s = 1.0")
    live_source(node, 3.0)
    node.work_until_ended(6)
    shed = [event for event in node.ended() if event.state == "shed"]
    assert {event.reason for event in shed} == {"buffer full"}
    assert "1 s of newer sound waited too (listen.max_buffer_s)" in shed[0].detail
    answer = node.audit()
    assert 1.5 <= answer["seconds"]["shed"] <= 2.5
    assert sum(answer["seconds"].values()) == pytest.approx(3.0, abs=1e-3)
    assert answer["missing"] == 0


def test_what_comes_faster_than_its_time_waits(make_node: MakeNode, model: Model) -> None:
    """A file that is piped in is no recorder: it is held back, not shed."""
    content = samples("S16_LE", 40 * RATE, 1)
    node = make_node(more="max_buffer_s = 2.0")
    with connect(node) as connection:
        threading.Thread(target=connection.sendall, args=(wav_header(LAYOUT) + content,)).start()
        time.sleep(0.3)
        assert max(node.intake.queue.buffer.held_s().values(), default=0.0) <= 2.5 + READ_SIZE / RATE / 2
        node.work_until_ended(79)
        connection.shutdown(socket.SHUT_WR)
        node.work_until_ended(80)
    check_outputs(node, model, content)


@pytest.mark.parametrize("spool", ["on-lag", "always"])
def test_sound_that_may_be_spooled_is_not_shed(make_node: MakeNode, spool: str) -> None:
    """It becomes a file in the spool, which is a recording like any other and says when it begins."""
    node = make_node(more=f'max_buffer_s = 1.0\nspool = "{spool}"')
    live_source(node, 2.0)
    node.work(node.intake.queue.buffer.is_empty)
    files = sorted(node.config.spool.folder.glob("street_*Z.wav"))
    assert len(files) + len(node.done()) == 4
    assert len(files) >= (4 if spool == "always" else 1)
    output = load_model(node.config.model[0].path).embed_file(files[0])
    assert output.provenance.start_time_source == "name"
    starts = [output.times()[0].astype(float) * 1e-6, *(entry.start_s or 0.0 for entry in node.done())]
    assert max(starts) - min(starts) < 2.0


def test_a_source_that_stalls_is_said_and_its_recording_ends(
    make_node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    """What there is of it is embedded, marked as short; what was missing is a gap with its reason."""
    node = make_node(more="stall_s = 0.4")
    with connect(node) as connection:
        connection.sendall(wav_header(LAYOUT) + CONTENT[:600])
        node.work_until_ended(1)
        assert "street: no sound for" in caplog.text
        time.sleep(0.5)
        connection.sendall(CONTENT[600 : 600 + SEGMENT])
        node.work_until_ended(2)
    assert [entry.salvaged for entry in node.done()] == [True, False]
    (gap,) = node.audit()["gaps"][:1]
    assert (gap["reason"], gap["detail"]) == ("stalled", "the source sent nothing")
    assert gap["seconds"] > 0.4


def test_a_rate_that_changes_is_said(make_node: MakeNode, caplog: pytest.LogCaptureFixture) -> None:
    """A stream may be followed by one of another kind on the same connection."""
    caplog.set_level("INFO")
    node = make_node()
    with connect(node) as connection:
        for audio in (AudioFormat(RATE, 2, 1), AudioFormat(16000, 3, 2)):
            connection.sendall(encode("audio-start", audio.data))
            connection.sendall(encode("audio-chunk", audio.data, 9600) + CONTENT[:9600])
        connection.sendall(encode("audio-stop"))
        node.work_until_ended(3)
    assert "it was 8000 Hz, 1 channel, 16-bit integers, and is 16000 Hz, 2 channels, 24-bit integers now" in caplog.text
    assert [node.output(entry).provenance.sample_rate for entry in node.done()][-1] == 16000


def test_after_a_kill_what_was_in_memory_is_on_record(make_node: MakeNode) -> None:
    """Recordings that were known and not embedded are shed as lost; the rest is a gap up to the next sound."""
    node = make_node()
    with connect(node) as connection:
        connection.sendall(wav_header(LAYOUT) + CONTENT[: 4 * SEGMENT])
        node.work_until_ended(2)
        # As a process that is killed leaves it: known to the journal, and never embedded.
        while len(node.journal.in_memory()) < 2:
            time.sleep(0.02)
            with node.journal.transaction():
                news = node.intake.queue.take_up(node.journal, time.time())
            node.intake.queue.buffer.known(news)
    node.close()
    again = make_node()
    assert {(event.state, event.reason) for event in again.ended()} == {("shed", "lost in memory")}
    with connect(again) as connection:
        connection.sendall(wav_header(LAYOUT) + CONTENT[:SEGMENT])
        again.work(lambda: len(again.done()) == 3)
    answer = again.audit()
    assert (answer["seconds"]["done"], answer["seconds"]["shed"]) == (1.5, 1.0)
    assert answer["gaps"][0]["reason"] == "killed"
    starts = sorted(entry.start_s or 0.0 for entry in (*again.journal.entries("done"), *again.journal.entries("shed")))
    assert starts[-1] - starts[0] == pytest.approx(2.0 + answer["missing"], abs=2e-3)


def test_a_stop_embeds_what_there_is(make_node: MakeNode, model: Model) -> None:
    """The open recording too, as far as it goes; the gap after it says that the daemon was stopped."""
    node = make_node()
    with connect(node) as connection:
        connection.sendall(wav_header(LAYOUT) + CONTENT)
        node.work_until_ended(1)
        node.intake.drain(lambda: node.worker.step(live_only=True), lambda: False)
        node.worker.step()
    check_outputs(node, model)
    assert node.audit()["gaps"][-1]["reason"] == "stopped"


def test_names_that_are_taken_are_not_taken_again(make_node: MakeNode) -> None:
    """Two recordings that begin within a second have two names."""
    node = make_node(more="max_buffer_s = 10.0\n")
    with connect(node) as connection:
        connection.sendall(wav_header(LAYOUT) + CONTENT)
        connection.shutdown(socket.SHUT_WR)
        node.work_until_ended(5)
    names = [entry.identity.name for entry in node.done()]
    assert len(set(names)) == 5
    assert all(name.endswith("Z") for name in names)
    assert {len(name) for name in names} == {len("street_20261128T170000Z"), len("street_20261128T170000.123456Z")}


def test_a_socket_that_somebody_else_has_is_refused(make_node: MakeNode) -> None:
    """A living process keeps it; one that was killed does not."""
    node = make_node(starts=False)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(node.folder / "a.sock"))
        other.listen()
        with pytest.raises(
            ConfigError, match=r"listen\.source street: .*a\.sock cannot be had: another process listens"
        ):
            node.intake.__enter__()
    again = make_node()  # the file is still there
    connect(again).close()


@pytest.mark.parametrize(
    "program",
    [
        "sox -n -r 8000 -b 16 -c 1 -t wav - synth 2 sine 440",
        "sox -n -r 8000 -b 24 -c 2 -t wav - synth 2 sine 440",
        "ffmpeg -loglevel error -f lavfi -i sine=440:r=8000:d=2 -f wav -",
        "gst-launch-1.0 -q audiotestsrc num-buffers=8 samplesperbuffer=2000 ! audio/x-raw,rate=8000 ! wavenc ! fdsink",
    ],
)
@pytest.mark.usefixtures("processes")
def test_real_programs(make_node: MakeNode, program: str) -> None:
    """What recorders and converters write into a pipe is understood as it is."""
    words = shlex.split(program)
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed here")
    node = make_node(f"command = {json.dumps(words)}")
    node.work_until_ended(4)
    assert [node.output(entry).provenance.n_samples for entry in node.done()][:4] == [RATE // 2] * 4
    assert node.output(node.done()[0]).provenance.level_dbfs > -30
