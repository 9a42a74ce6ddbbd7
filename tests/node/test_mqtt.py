"""What a broker hears: a real mosquitto on the loopback, which comes and goes."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import Config, load_config
from sonyc_ml.node.events import OutputPublished, RecordingEnded
from sonyc_ml.node.facts import DaemonFacts, Facts, FolderFacts, InputFacts, TroubleFacts
from sonyc_ml.node.journal.journal import Journal, OutputSummary
from sonyc_ml.node.telemetry.broker import client_id
from sonyc_ml.node.telemetry.messages import encoded
from sonyc_ml.node.telemetry.mqtt import MAX_IN_FLIGHT, MqttPublisher
from sonyc_ml.node.telemetry.unsent import FILE_NAME, MAX_HELD
from sonyc_ml.sound.node import host_name
from tests.conftest import PATIENCE_S, ROOT, write_recording
from tests.support.watching import Watch

LONG_S = PATIENCE_S
MODEL = ROOT / "models" / "quantized_default_int8.tflite"

Payload = dict[str, Any]
Prepare = Callable[[Client], object]


def tool(name: str) -> str:
    """Where a program is; skips the test, saying so, where it is not."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"there is no {name} here: scripts/setup-debian mosquitto openssl")
    return path


def wait_until(is_so: Callable[[], Any], what: str) -> None:
    end_s = time.monotonic() + LONG_S
    while not is_so():
        assert time.monotonic() < end_s, f"not {what} after {LONG_S} s"
        time.sleep(0.01)


class Mosquitto:
    """A broker on a loopback port of its own, which keeps what subscribers missed while it is down."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self._program = tool("mosquitto")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        user = ["user root"] if os.geteuid() == 0 else []  # else it becomes one that cannot read the test's files
        access = [] if any("password_file" in line for line in lines) else ["allow_anonymous true"]
        listener = [f"listener {self.port} 127.0.0.1", *lines, *access]
        self._path = folder / f"mosquitto-{self.port}.conf"
        kept = ["persistence true", f"persistence_location {folder}/", f"persistence_file {self.port}.db"]
        self._path.write_text("\n".join([*user, *kept, *listener, ""]))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([self._program, "-c", self._path], stderr=subprocess.DEVNULL)
        wait_until(self._answers, "listening")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(LONG_S)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "mosquitto did not start"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Ears:
    """A subscriber; what is published while it or the broker is down reaches it later."""

    def __init__(self, port: int, topic: str, prepare: Prepare, name: str) -> None:
        self.heard: list[tuple[str, Payload, bool]] = []
        self._topic, self._subscribed = topic, threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        prepare(self._client)
        self._client.connect("localhost", port)
        self._client.loop_start()
        assert self._subscribed.wait(LONG_S)

    def _on_connect(self, *_: Any) -> None:
        self._client.subscribe(f"{self._topic}/#", qos=1)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        assert message.qos == 1
        self.heard.append((message.topic.removeprefix(f"{self._topic}/"), json.loads(message.payload), message.retain))

    def all(self, kind: str) -> list[Payload]:
        return [payload for topic, payload, _ in list(self.heard) if topic == kind]

    def wait_for(self, kind: str, is_it: Callable[[Payload], Any] = lambda _: True) -> Payload:
        """The first message of a kind that is meant."""
        wait_until(lambda: any(map(is_it, self.all(kind))), f"heard of {kind} in {self.heard}")
        return next(filter(is_it, self.all(kind)))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def listening(port: int, topic: str, prepare: Prepare = lambda _: None, name: str = "") -> Iterator[Ears]:
    ears = Ears(port, topic, prepare, name or f"ears of {topic}")
    try:
        yield ears
    finally:
        ears.close()


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One for all tests that leave it as it is; each has a topic of its own."""
    broker = Mosquitto(tmp_path_factory.mktemp("mosquitto"))
    yield broker
    broker.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """One that the test may stop."""
    broker = Mosquitto(tmp_path)
    yield broker
    broker.stop()


def configured(folder: Path, port: int, topic: str = "node", **more: object) -> Config:
    """A configuration with a broker; the network's file is not looked at."""
    mqtt = {"host": "localhost", "port": port, "topic": topic, "every_s": 0.1, **more}
    tables: dict[str, dict[str, object]] = {
        "spool": {"folder": str(folder / "recordings")},
        "model": {"path": str(MODEL)},
        "output": {"folder": str(folder / "out")},
        "mqtt": mqtt,
    }
    return load_config(None, tables)


def publisher_of(config: Config) -> MqttPublisher:
    return MqttPublisher(config.mqtt, config.state_folder, "street-12")


@contextmanager
def publishing(config: Config) -> Iterator[tuple[MqttPublisher, Callable[..., None]]]:
    """A publisher, and what makes recordings happen: their outputs, then the journal, then the word of their end."""
    with closing(Journal(config.state_folder)) as journal, publisher_of(config) as publisher:

        def happen(*events: OutputPublished) -> None:
            with journal.transaction():
                for event in events:
                    publisher.on_event(event)
                    identity = Identity(event.recording, 100, event.mtime_ns)
                    journal.add([identity])
                    journal.finish(identity, OutputSummary(None, 10.0, event.hop_size_s))
            for event in events:
                publisher.on_event(RecordingEnded(event.recording, "done"))

        yield publisher, happen


def published(n: int, scores: dict[str, float] | None = None) -> OutputPublished:
    """An event: the n-th recording was embedded."""
    name, output = f"{n}.wav", Path(f"{n}.wav.npz")
    stages_s = {"embed": 0.1, "store": 0.01}
    scores = {"siren": 0.123456, "dog": 0.5} if scores is None else scores
    start = "2026-11-21T12:00:00+00:00"
    return OutputPublished(name, "tiny", output, start, 10.0, 0.1, 91, 5000, stages_s, scores, mtime_ns=n + 1)


def numbers(ears: Ears) -> list[int]:
    """Which recordings arrived, in order; each once, for what a break leaves unacknowledged comes again."""
    return list(dict.fromkeys(int(payload["recording"].removesuffix(".wav")) for payload in ears.all("recording")))


def is_of(name: str, payload: Payload) -> bool:
    return payload["recording"] == name  # type: ignore[no-any-return]


@contextmanager
def watching(folder: Path, mqtt: str, *flags: str) -> Iterator[Watch]:
    """The daemon in a process of its own, with the bundle that has scores."""
    (folder / "recordings").mkdir()
    text = f'[spool]\nfolder = "recordings"\n[output]\nfolder = "out"\n[model]\npath = "{MODEL}"\n[mqtt]\n{mqtt}\n'
    (folder / "sonyc-ml.toml").write_text(text)
    daemon = Watch(folder / "recordings", folder / "out", "--config", folder / "sonyc-ml.toml", *flags)
    try:
        daemon.wait_for_line("watching")
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


def test_scores_and_state_arrive(tmp_path: Path, shared_broker: Mosquitto) -> None:
    """The daemon tells of each recording, of what cannot be embedded, and of its state, which the broker keeps."""
    mqtt = f'host = "localhost"\nport = {shared_broker.port}\ntopic = "here/12"\nevery_s = 0.2'
    with watching(tmp_path, mqtt) as daemon, listening(shared_broker.port, "here/12") as ears:
        write_recording(daemon.folder / "20261121T120000Z.wav", 3.0)
        (daemon.folder / "bad.wav").write_bytes(b"not sound" * 100)
        recording, ended = ears.wait_for("recording"), ears.wait_for("ended")
        state = ears.wait_for("state", lambda state: state["counts"]["quarantined"] and state["counts"]["done"])
        with listening(shared_broker.port, "here/12", name="late") as late:
            wait_until(lambda: any(is_retained for _, _, is_retained in late.heard), "told what was retained")
        assert daemon.stop() == 0
        stopped = ears.wait_for("state", lambda state: state["state"] == "offline")
    assert (recording["recording"], recording["bundle"]) == ("20261121T120000Z.wav", "quantized_default_int8")
    assert (recording["start_time"], recording["duration_s"]) == ("2026-11-21T12:00:00+00:00", 3.0)
    assert recording["scores"]
    assert all(0 <= score <= 1 and score == round(score, 4) for score in recording["scores"].values())
    assert "embedding" not in recording
    assert (ended["recording"], ended["state"], ended["reason"]) == ("bad.wav", "quarantined", "unreadable")
    assert state["counts"] == {"done": 1, "quarantined": 1, "shed": 0}
    assert (state["state"], state["folder"], state["quiet"], state["trouble"]) == ("online", "watched", False, None)
    assert (state["backlog"], state["lag_s"], state["dropped"]) == (0, 0.0, 0)
    assert [bundle["name"] for bundle in state["bundles"]] == ["quantized_default_int8"]
    assert set(stopped) == {"state", "stopped"}
    assert recording["node"] == ended["node"] == state["node"] == host_name()
    assert len({recording["id"], ended["id"]}) == 2
    assert all(one["id"].startswith(f"{host_name()}-") for one in (recording, ended))
    for shown, real in zip(shown_messages(), (state, recording, ended, stopped), strict=True):
        assert set(real) <= set(shown) <= set(real) | {"n_detections", "detections"}  # these where there are rules


def shown_messages() -> list[Payload]:
    """Those of docs/operations.md."""
    (text,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    return [json.loads(message) for message in re.split(r"\n(?=\{)", text.strip())]


def test_a_daemon_that_dies_is_offline(tmp_path: Path, shared_broker: Mosquitto) -> None:
    """After kill -9 the broker publishes the last will, and keeps it."""
    mqtt = f'host = "localhost"\nport = {shared_broker.port}\ntopic = "dies"\nevery_s = 0.2'
    with watching(tmp_path, mqtt) as daemon, listening(shared_broker.port, "dies") as ears:
        ears.wait_for("state", lambda state: state["state"] == "online")
        daemon.process.kill()
        assert ears.wait_for("state", lambda state: state["state"] == "offline") == {"state": "offline"}
        with listening(shared_broker.port, "dies", name="later") as later:
            assert later.wait_for("state") == {"state": "offline"}


def test_a_wrong_password_is_said_once(tmp_path: Path) -> None:
    """The daemon embeds on, and says in one sentence that the broker refuses it."""
    accounts, password = tmp_path / "accounts", tmp_path / "password"
    subprocess.run([tool("mosquitto_passwd"), "-b", "-c", accounts, "node", "right"], check=True)
    password.write_text("wrong\n")
    password.chmod(0o600)
    broker = Mosquitto(tmp_path, f"password_file {accounts}")
    try:
        mqtt = f'host = "localhost"\nport = {broker.port}\nusername = "node"\npassword_file = "password"'
        with watching(tmp_path, mqtt) as daemon:
            daemon.wait_for_line("refuses the connection (Not authorized)")
            write_recording(daemon.folder / "a.wav")
            daemon.wait_for_output("a.wav.npz")
            write_recording(daemon.folder / "b.wav")
            daemon.wait_for_output("b.wav.npz")
            time.sleep(2.5)  # it has tried again, after 1 s and after 2 s
            assert daemon.stop() == 0
            assert daemon.log().count("MQTT broker") == 2, daemon.log()  # refused; and 2 messages that did not arrive
            assert "2 messages did not reach the MQTT broker; sent at the next start" in daemon.log()
        assert "everybody" not in daemon.log()
    finally:
        broker.stop()


def test_the_right_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A user with the password in the file is let in; a file that everybody can read is warned of."""
    accounts, password = tmp_path / "accounts", tmp_path / "password"
    subprocess.run([tool("mosquitto_passwd"), "-b", "-c", accounts, "node", "rîght"], check=True)
    password.write_text("rîght\n")
    password.chmod(0o644)
    broker = Mosquitto(tmp_path, f"password_file {accounts}")
    try:
        config = configured(tmp_path, broker.port, username="node", password_file=str(password))
        prepare: Prepare = lambda client: client.username_pw_set("node", "rîght")  # noqa: E731
        with listening(broker.port, "node", prepare) as ears, publisher_of(config):
            ears.wait_for("state")
    finally:
        broker.stop()
    assert f"{password} can be read by everybody" in caplog.text


def test_a_broker_that_is_away_at_the_start(
    tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no error: what happened meanwhile arrives once the broker is there."""
    caplog.set_level(logging.INFO, "sonyc_ml")
    with listening(broker.port, "node") as ears:
        broker.stop()
        with publishing(configured(tmp_path, broker.port)) as (_, happen):
            wait_until(lambda: "cannot be reached (Connection refused)" in caplog.text, "told that it is away")
            happen(*map(published, range(3)))
            broker.start()
            ears.wait_for("recording", partial(is_of, "2.wav"))
            ears.wait_for("state")
    assert numbers(ears) == [0, 1, 2]
    assert ears.all("recording")[0]["scores"] == {"siren": 0.1235, "dog": 0.5}
    assert caplog.text.count("cannot be reached") == caplog.text.count("takes messages again") == 1


def test_a_broker_that_is_away_for_a_while(tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    """All that happened meanwhile arrives, in order, each by an id of its own; memory holds a few of them only."""
    caplog.set_level(logging.INFO, "sonyc_ml")

    def is_logged(text: str, n: int) -> bool:
        return caplog.text.count(text) == n

    with listening(broker.port, "node") as ears, publishing(configured(tmp_path, broker.port)) as (publisher, happen):
        happen(published(0))
        ears.wait_for("recording")
        ears.wait_for("state")
        for n_breaks in (1, 2):
            broker.stop()
            wait_until(partial(is_logged, "went away", n_breaks), "gone")
            happen(*map(published, range(100 * n_breaks, 100 * n_breaks + 50)))
            assert publisher.n_held <= MAX_HELD
            broker.start()
            ears.wait_for("recording", partial(is_of, f"{100 * n_breaks + 49}.wav"))
            wait_until(partial(is_logged, "takes messages again", n_breaks), "back")
    assert numbers(ears) == [0, *range(100, 150), *range(200, 250)]
    assert_each_has_an_id(ears)
    assert ears.all("state")[-1]["state"] == "offline"
    assert len(caplog.records) == 5  # it takes messages; away and back, twice


def assert_each_has_an_id(ears: Ears) -> None:
    """However often a message came, it is of one recording, and that has no other."""
    pairs = {(payload["id"], payload["recording"]) for payload in ears.all("recording")}
    assert len(pairs) == len({number for number, _ in pairs}) == len({name for _, name in pairs})


def test_a_broker_that_is_back_is_told_the_state(tmp_path: Path, broker: Mosquitto) -> None:
    """It was told by the last will that nobody is here; it hears at once that somebody is."""
    with listening(broker.port, "node") as ears:

        def n_told() -> int:
            return sum(payload["state"] == "online" and not is_retained for _, payload, is_retained in ears.heard)

        with publisher_of(configured(tmp_path, broker.port, every_s=1000)):
            wait_until(lambda: n_told() == 1, "told")
            broker.stop()
            broker.start()
            wait_until(lambda: n_told() == 2, "told again")


def test_a_broker_that_does_not_acknowledge(tmp_path: Path, broker: Mosquitto) -> None:
    """A broker that hangs is sent a few messages and no more; killed, it gets them all from the next one, in order."""
    with listening(broker.port, "node") as ears, publishing(configured(tmp_path, broker.port)) as (publisher, happen):
        ears.wait_for("state")
        broker.process.send_signal(signal.SIGSTOP)
        happen(*map(published, range(50)))
        wait_until(lambda: publisher.n_in_flight >= MAX_IN_FLIGHT, "in flight")
        time.sleep(0.3)  # states are due meanwhile
        assert publisher.n_in_flight <= MAX_IN_FLIGHT + 1
        broker.process.send_signal(signal.SIGCONT)
        ears.wait_for("recording", partial(is_of, "49.wav"))
    assert numbers(ears) == list(range(50))


def test_what_waits_goes_out_at_the_end(tmp_path: Path, shared_broker: Mosquitto) -> None:
    """A daemon that stops says first what it has to say."""
    with listening(shared_broker.port, "end") as ears:
        with publishing(configured(tmp_path, shared_broker.port, "end")) as (_, happen):
            ears.wait_for("state")
            happen(*map(published, range(500)))
        ears.wait_for("state", lambda state: state["state"] == "offline")
    assert numbers(ears) == list(range(500))


def test_a_change_is_told_at_once(tmp_path: Path, shared_broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble, quiet and a folder that is gone do not wait for the next round."""
    monkeypatch.setattr("sonyc_ml.node.telemetry.mqtt.LOOK_S", 0.05)
    config = configured(tmp_path, shared_broker.port, "change", every_s=1000)
    journal = Journal(config.state_folder)
    daemon = DaemonFacts(os.getpid(), since="2026-11-21T12:00:00+00:00", version="1")
    journal.write_facts(Facts(daemon=replace(daemon, pid=0), folder=FolderFacts("watched")))  # of the daemon before
    with listening(shared_broker.port, "change") as ears, publisher_of(config):
        assert "folder" not in ears.wait_for("state")
        facts = Facts(daemon=daemon, folder=FolderFacts("missing"), input=InputFacts("quiet"))
        journal.write_facts(replace(facts, trouble=TroubleFacts(detail="full")))
        state = ears.wait_for("state", lambda state: state.get("folder") == "missing")
        assert (state["quiet"], state["trouble"]) == (True, "full")
        journal.write_facts(facts)
        ears.wait_for("state", lambda state: state.get("folder") == "missing" and state["trouble"] is None)
        assert len(ears.all("state")) == 3
    journal.close()


def interrupted(n: int, folder: Path, broker: Mosquitto, ears: Ears, mqtt: str) -> set[str]:
    """Record while the broker and the daemon are killed and started again; what was recorded."""
    names = [f"{i}.wav" for i in range(n)]
    with watching(folder, mqtt) as daemon:
        write_recording(daemon.folder / names[0])
        ears.wait_for("recording", partial(is_of, names[0]))
        broker.process.kill()
        broker.process.wait()
        for name in names[1 : n // 2]:
            write_recording(daemon.folder / name)
        (daemon.folder / "bad.wav").write_bytes(b"not sound" * 100)
        daemon.wait_for_state("bad.wav", "quarantined")
        daemon.wait_for_state(names[n // 2 - 1], "done")
        daemon.process.kill()
        daemon.process.wait()
    shutil.rmtree(folder / "recordings")  # done: nobody finds them again
    with watching(folder, mqtt) as daemon:
        broker.start()
        for name in names[n // 2 :]:
            write_recording(daemon.folder / name)
        for name in names:
            ears.wait_for("recording", partial(is_of, name))
        assert daemon.stop() == 0
    return set(names)


def test_every_event_arrives_after_an_outage(tmp_path: Path, broker: Mosquitto) -> None:
    """Broker and daemon are killed while recordings come: each arrives with its scores, and has one id."""
    mqtt = f'host = "localhost"\nport = {broker.port}\ntopic = "outage"\nevery_s = 0.2'
    with listening(broker.port, "outage") as ears:
        names = interrupted(2 * (MAX_HELD + 8), tmp_path, broker, ears, mqtt)
        ended = ears.wait_for("ended")
    heard = ears.all("recording")
    assert {payload["recording"] for payload in heard} == names
    assert_each_has_an_id(ears)
    assert ended["recording"] == "bad.wav"
    scores: dict[str, Payload] = {}
    for payload in heard:  # read from its output, or just made: it is the same message
        assert payload["scores"]
        assert scores.setdefault(payload["id"], payload) == payload
    assert not ears.all("lost")


def test_what_the_journal_dropped_is_said_to_be_lost(tmp_path: Path, broker: Mosquitto) -> None:
    """After an outage that is longer than the journal's events; what it still holds arrives."""
    config = configured(tmp_path, broker.port)
    with listening(broker.port, "node") as ears:
        broker.stop()
        with publishing(config) as (publisher, happen), closing(Journal(config.state_folder)) as journal:
            happen(*map(published, range(30)))
            (after,) = journal.connection.execute("SELECT id FROM events ORDER BY id LIMIT 1 OFFSET 40").fetchone()
            with journal.transaction():
                journal.connection.execute("DELETE FROM events WHERE id <= ?", (after,))
            broker.start()
            lost = ears.wait_for("lost")
            ears.wait_for("recording", partial(is_of, "29.wav"))
            assert publisher.n_lost == lost["n_events"] == 40
    assert numbers(ears) == list(range(20, 30))


def test_an_output_that_has_gone_is_told_without_scores(tmp_path: Path, shared_broker: Mosquitto) -> None:
    """It was removed while the broker was away: its recording is still told, and why there is no more."""
    config = configured(tmp_path, shared_broker.port, "gone")
    with listening(shared_broker.port, "gone") as ears, closing(Journal(config.state_folder)) as journal:
        with publisher_of(config):
            pass
        identity = Identity("a.wav", 100, 1)
        journal.add([identity])
        journal.finish(identity, OutputSummary(1_700_000_000.0, 10.0, 0.1))
        with publisher_of(config):
            payload = ears.wait_for("recording")
    assert (payload["start_time"], payload["duration_s"]) == ("2023-11-14T22:13:20+00:00", 10.0)
    assert "scores" not in payload
    assert "not on the node any more" in payload["note"]


def acknowledged(config: Config) -> int:
    return int((config.state_folder / FILE_NAME).read_text())


def test_what_was_acknowledged_is_not_sent_again(tmp_path: Path, shared_broker: Mosquitto) -> None:
    """After a stop in order, nothing is; with a damaged file all that is kept is, by the same ids."""
    config = configured(tmp_path, shared_broker.port, "again")
    with listening(shared_broker.port, "again") as ears:
        with publishing(config) as (_, happen):
            before = acknowledged(config)
            happen(*map(published, range(3)))
            ears.wait_for("recording", partial(is_of, "2.wav"))
        assert acknowledged(config) == before + 6  # three found, three published
        with publishing(config) as (_, happen):
            happen(published(3))
            ears.wait_for("recording", partial(is_of, "3.wav"))
        assert len(ears.all("recording")) == 4
        (config.state_folder / FILE_NAME).write_text("?")
        with publisher_of(config):
            wait_until(lambda: len(ears.all("recording")) == 8, "sent again")
    assert_each_has_an_id(ears)


def test_topics_have_the_name_of_the_node(tmp_path: Path, shared_broker: Mosquitto) -> None:
    """Where none is given; what a version without names left at the broker is replaced, once."""
    config = configured(tmp_path, shared_broker.port)
    config = replace(config, mqtt=replace(config.mqtt, topic=None))
    with listening(shared_broker.port, "sonyc-ml") as ears, closing(Journal(config.state_folder)) as journal:
        journal.write_facts(Facts(daemon=DaemonFacts(1, since="2026-11-21T12:00:00+00:00", version="0.1")))
        with publisher_of(config):
            assert ears.wait_for("state") == {"state": "offline", "moved_to": "sonyc-ml/street-12"}
            assert ears.wait_for("street-12/state")["node"] == "street-12"
        journal.write_facts(Facts(daemon=DaemonFacts(1, version="1", node=config.node.record())))
        with publisher_of(config):
            wait_until(lambda: [p["state"] for p in ears.all("street-12/state")].count("online") == 2, "online again")
    assert len(ears.all("state")) == 1


def certify(folder: Path) -> None:
    """Make a CA, a certificate of localhost by it, and another CA that nobody knows."""
    for name in ("ca", "stranger"):
        request = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}"
        openssl(folder, *request.split(), "-keyout", f"{name}.key", "-out", f"{name}.pem")
    request = (
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout host.key -out host.csr"
    )
    openssl(folder, *request.split())
    (folder / "names").write_text("subjectAltName = DNS:localhost\n")
    sign = "x509 -req -in host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out host.pem"
    openssl(folder, *sign.split())


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([tool("openssl"), *arguments], cwd=folder, check=True, capture_output=True)


# paho leaves the socket of a handshake that fails to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The connection is encrypted; a broker that the CA does not vouch for is sent nothing."""
    certify(tmp_path)
    broker = Mosquitto(tmp_path, f"certfile {tmp_path}/host.pem", f"keyfile {tmp_path}/host.key")
    try:
        with listening(broker.port, "node", lambda client: client.tls_set(str(tmp_path / "ca.pem"))) as ears:
            with publishing(configured(tmp_path, broker.port, ca_file=str(tmp_path / "ca.pem"))) as (_, happen):
                happen(published(1))
                ears.wait_for("recording")
            n_heard = len(ears.heard)
            with publishing(configured(tmp_path, broker.port, ca_file=str(tmp_path / "stranger.pem"))) as (_, happen):
                happen(published(2))
                wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text, "refused")
            wait_until(lambda: "offline" in str(ears.heard[-1]), "told of the end of the first")
            assert 2 not in numbers(ears)
            assert len(ears.heard) <= n_heard + 1
    finally:
        broker.stop()


def test_nothing_is_started_where_no_broker_is_configured(tmp_path: Path) -> None:
    """No thread, no paho."""
    program = (
        "import sys, threading; from pathlib import Path; from sonyc_ml.node.config import load_config\n"
        "from sonyc_ml.node.events import RecordingEnded; from sonyc_ml.node.telemetry.mqtt import MqttPublisher\n"
        "c = load_config(None, {'spool': {'folder': 's'}, 'model': {'path': 'm'}, 'output': {'folder': 'o'}})\n"
        "with MqttPublisher(c.mqtt, c.state_folder, 'a') as p:\n"
        " p.on_event(RecordingEnded('a', 'shed')); print(threading.active_count(), 'paho' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("1 False\n", "")


@pytest.mark.timing
def test_hearing_is_cheap_and_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The worker does not wait for a broker that is away; what is held of 10,000 recordings has a bound."""
    events = [published(n) for n in range(10_000)]
    publisher = publisher_of(configured(tmp_path, 1))
    start_s = time.perf_counter()
    for event in events:
        publisher.on_event(event)
    per_event_s = (time.perf_counter() - start_s) / len(events)
    with capsys.disabled():
        print(f" hear(): {per_event_s * 1e6:.1f} µs", end="")
    assert per_event_s < 1e-3
    assert publisher.n_held == MAX_HELD


def test_a_broker_that_speaks_something_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever answers at the port, it is said once and tried again."""

    def answer() -> None:
        for _ in range(3):
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        with publisher_of(configured(tmp_path, server.getsockname()[1], host="127.0.0.1")):
            thread.join(LONG_S)
            assert not thread.is_alive()  # it came three times
    assert len(caplog.records) == 1
    assert "closes the connection" in caplog.text


def test_a_message_that_cannot_be_written_costs_itself_alone(
    tmp_path: Path, shared_broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """The others arrive; scores that are no numbers are null."""
    odd = OutputPublished("1.wav", "tiny", Path(), "", float("nan"), 0.1, 1, 1, {}, mtime_ns=2)
    config = configured(tmp_path, shared_broker.port, "odd")
    with listening(shared_broker.port, "odd") as ears, publishing(config) as (_, happen):
        happen(odd, published(2, {"siren": float("nan")}))
        assert ears.wait_for("recording")["scores"] == {"siren": None}
    assert numbers(ears) == [2]
    assert "could not be published" in caplog.text


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"host": ""}, "no name of a host"),
        ({"host": "a..b"}, "no name of a host"),
        ({"host": "a\0b"}, "no name of a host"),
        ({"ca_file": "/nowhere.pem"}, "/nowhere.pem cannot be used: No such file"),
        ({"username": "a", "password_file": "/nowhere"}, "/nowhere cannot be read: No such file"),
        ({"username": "a", "password_file": "/dev/null"}, "/dev/null is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_start(tmp_path: Path, given_: dict[str, str], says: str) -> None:
    """Each with a sentence that names the key."""
    with pytest.raises(ConfigError, match=says):
        publisher_of(configured(tmp_path, 1, **given_))


def test_passwords_and_certificates_that_are_none(tmp_path: Path) -> None:
    """Bytes that are not UTF-8, and a file without certificates."""
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        publisher_of(configured(tmp_path, 1, username="a", password_file=str(tmp_path / "file")))
    with pytest.raises(ConfigError, match="ca_file"):
        publisher_of(configured(tmp_path, 1, ca_file=str(tmp_path / "file")))


@pytest.mark.parametrize("module", ["paho.mqtt.client", "paho.mqtt.enums"])
def test_without_paho_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Where it is missing, and where it is the old one of Debian."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"install the extra mqtt: \S+ -m pip install 'paho-mqtt>=2"):
        publisher_of(configured(tmp_path, 1))


@given(st.text(st.characters(exclude_categories=())))
@example("caf\udce9.wav")
def test_any_name_is_valid_json(name: str) -> None:
    """A name that is not UTF-8 is spelt as the journal spells it."""
    assert json.loads(encoded({name: [name]})) == {spelt(name): [spelt(name)]}


def spelt(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


@given(st.text())
def test_every_broker_takes_the_client_id(hostname: str) -> None:
    """At most 23 characters of the plainest; no two processes have the same."""
    name = client_id(hostname)
    assert name.isascii()
    assert len(name) <= 23
    assert name.replace("-", "").isalnum()
    assert name != client_id(hostname)
