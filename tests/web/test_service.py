"""`sonyc-ml serve` as a process: where it listens, when it is healthy, how it ends."""

from __future__ import annotations

import base64
import io
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import soundfile

from sonyc_ml.errors import ConfigError
from sonyc_ml.web.settings import address_of
from tests.conftest import PATIENCE_S, needs
from tests.support.bundles import make_bundle, make_fragile
from tests.support.serving import Reply, Served, served, until

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client")]

LONG: dict[str, Any] = {
    "instances": [{"samples": [0.0, 0.1] * 400_000, "sample_rate": 8000}],
    "parameters": {"hop_size": 0.01},
}
SHORT: dict[str, Any] = {"instances": [{"samples": [0.0, 0.1] * 4000, "sample_rate": 8000}]}


class Asking(threading.Thread):
    """A request that somebody else waits for."""

    def __init__(self, service: Served, body: dict[str, Any]) -> None:
        super().__init__()
        self._service, self._body = service, body
        self.reply: Reply | None = None
        self.start()

    def run(self) -> None:
        self.reply = self._service.ask("POST", "/predict", self._body)


def test_it_listens_on_a_unix_socket(tiny_bundle: Path, tmp_path: Path) -> None:
    """For owner and group, in the place of one that was left; it is gone afterwards."""
    path = tmp_path / "predict.sock"
    with served("--model", tiny_bundle, "--socket", path) as first:
        first.process.kill()
        first.process.wait()
    assert path.exists()
    with served("--model", tiny_bundle, "--socket", path) as service:
        assert path.stat().st_mode & 0o777 == 0o660
        assert service.ask("POST", "/predict", SHORT).status == 200
    assert (service.process.returncode, path.exists()) == (0, False)


def test_what_runs_is_finished(tiny_bundle: Path) -> None:
    """SIGTERM ends it with 0 once the answers are there; meanwhile it is not healthy."""
    with served("--model", tiny_bundle, "--port", 0, "--workers", 1) as service:
        asking = Asking(service, LONG)
        until(lambda: service.ask("GET", "/health").json()["n_running"] == 1)
        service.process.send_signal(signal.SIGTERM)
        asking.join()
    assert asking.reply is not None
    assert asking.reply.status == 200
    assert service.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_early_is_not_lost(tiny_bundle: Path, number: signal.Signals) -> None:
    """Whoever says "listening" can be ended, with 0, whether it is up by then or not."""
    for _ in range(3):
        with Served("--model", tiny_bundle, "--port", 0) as service:
            service.said("listening on")
            service.process.send_signal(number)
            assert service.process.wait(PATIENCE_S) == 0


def test_too_many_are_sent_away(tiny_bundle: Path) -> None:
    """With when to come again; health answers all the while."""
    with served("--model", tiny_bundle, "--port", 0, "--workers", 1, "--waiting", 1) as service:
        first = Asking(service, LONG)
        until(lambda: service.ask("GET", "/health").json()["n_running"] == 1)
        second = Asking(service, SHORT)
        until(lambda: service.ask("GET", "/health").json()["n_waiting"] == 1)
        third = service.ask("POST", "/predict", SHORT)
        assert (third.status, third.headers["retry-after"]) == (503, "1")
        assert third.json() == {"error": "too many requests wait already: try again later"}
        first.join()
        second.join()
        assert first.reply is not None
        assert second.reply is not None
        assert (first.reply.status, second.reply.status) == (200, 200)


def test_nobody_waits_no_work_is_done(tiny_bundle: Path) -> None:
    """A client that leaves has its work dropped, and the worker is free within a moment."""
    with served("--model", tiny_bundle, "--port", 0, "--workers", 1) as service:
        connection = service.connection()
        connection.request(
            "POST",
            "/predict",
            b'{"instances": [{"samples": ['
            + b"0," * 2_000_000
            + b'0], "sample_rate": 8000}], "parameters": {"hop_size": 0.01}}',
        )
        until(lambda: service.ask("GET", "/health").json()["n_running"] == 1)
        connection.close()
        until(lambda: service.ask("GET", "/health").json()["n_running"] == 0, 20)
        assert service.ask("POST", "/predict", SHORT).status == 200


def test_it_is_healthy_when_it_can_answer(tmp_path: Path) -> None:
    """A bundle that cannot be loaded ends it with one sentence."""
    bundle = make_fragile(tmp_path, "fragile")
    bundle.with_suffix(".json").write_text("{")
    with Served("--model", bundle, "--port", 0) as service:
        assert service.process.wait(30) == 2
    assert service.lines[-1].startswith("sonyc-ml: error: ")


def test_metrics(tiny_bundle: Path) -> None:
    """Counts and times by route; what is not there makes no series of its own; one line per request with --verbose."""
    with served("--model", tiny_bundle, "--port", 0, "--workers", 1, "--verbose") as service:
        for _ in range(3):
            assert service.ask("POST", "/predict", SHORT).status == 200
        service.ask("POST", "/predict", {"instances": [7]})
        service.ask("GET", "/nowhere/1")
        service.ask("GET", "/nowhere/2")
        values = figures(service)
        total = 'sonyc_ml_serve_requests_total{method="POST",route="/predict",status="%d"}'
        assert (values[total % 200], values[total % 400]) == ("3.0", "1.0")
        assert values['sonyc_ml_serve_requests_total{method="other",route="other",status="404"}'] == "2.0"
        assert not [name for name in values if "nowhere" in name]
        assert values['sonyc_ml_serve_stage_seconds_count{stage="working"}'] == "4.0"
        assert values['sonyc_ml_serve_stage_seconds_count{stage="receiving"}'] == "4.0"
        assert (values["sonyc_ml_serve_instances_sum"], values["sonyc_ml_serve_instances_count"]) == ("3.0", "3.0")
        assert values["sonyc_ml_serve_sound_seconds_total"] == "3.0"
        assert 0 < float(values["sonyc_ml_serve_windows_total"]) < 100
        assert (values["sonyc_ml_serve_waiting"], values["sonyc_ml_serve_running"]) == ("0.0", "0.0")
        assert float(values["process_resident_memory_bytes"]) > 2e7
        service.said(r"DEBUG POST /predict 200 \d+ ms")


def test_the_same_sound_is_computed_once(tiny_bundle: Path) -> None:
    """Whoever asks, at once or later, in whatever form; until --cache-bytes is full, and never with 0."""
    file = base64.b64encode(wav_of([0.0, 0.1] * 80_000)).decode()
    body = {**LONG, "instances": [{"b64": file}]}
    with served("--model", tiny_bundle, "--port", 0, "--workers", 2) as service:
        at_once = [Asking(service, body) for _ in range(3)]
        for one in at_once:
            one.join()
        path = "/predict?hop_size=0.01&encoding=b64"
        raw = service.ask("POST", path, base64.b64decode(file), Content_Type="audio/wav")
        assert raw.status == 200
        values = figures(service)
        assert values['sonyc_ml_serve_cache_total{result="hit"}'] == "3.0"
        assert values['sonyc_ml_serve_cache_total{result="miss"}'] == "1.0"
        assert float(values["sonyc_ml_serve_cache_bytes"]) > 10_000
        service.ask("POST", path.replace("0.01", "0.5"), base64.b64decode(file), Content_Type="audio/wav")
        assert figures(service)["sonyc_ml_serve_cache_entries"] == "2.0"
    replies = {one.reply.body for one in at_once if one.reply and one.reply.status == 200}
    assert len(replies) == 1
    with served("--model", tiny_bundle, "--port", 0, "--workers", 1, "--cache-bytes", 0) as service:
        again = service.ask("POST", path, base64.b64decode(file), Content_Type="audio/wav")
        assert not [name for name in figures(service) if "cache" in name]
    assert again.body == raw.body


def wav_of(samples: list[float]) -> bytes:
    """Samples at 8 kHz as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format="WAV")
    return file.getvalue()


def figures(service: Served) -> dict[str, str]:
    """The samples of /metrics, by name and labels."""
    text = service.ask("GET", "/metrics").body.decode()
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def width_of(service: Served) -> int:
    """How many numbers an embedding has."""
    reply = service.ask("POST", "/predict", SHORT)
    assert reply.status == 200
    return len(reply.json()["predictions"][0]["embedding"][0])


def test_bundles_are_switched(tmp_path: Path) -> None:
    """SIGHUP takes what lies there now, between two requests; what cannot be used is told, and the old one stays."""
    path = make_bundle(tmp_path / "a.tflite", 5)
    with served("--model", path, "--port", 0, "--workers", 2) as service:
        assert width_of(service) == 5
        manifest = path.with_suffix(".json").read_bytes()
        path.with_suffix(".json").write_text("{")
        service.process.send_signal(signal.SIGHUP)
        service.said("ERROR the new bundles cannot be used, the old ones stay: ")
        health = service.ask("GET", "/health")
        assert (health.status, "the old ones stay" in health.json()["problem"], width_of(service)) == (200, True, 5)
        path.with_suffix(".json").write_bytes(manifest)
        make_bundle(path, 7)
        service.process.send_signal(signal.SIGHUP)
        service.said("switched: a$")
        assert [width_of(service) for _ in range(4)] == [7] * 4
        assert "problem" not in service.ask("GET", "/health").json()
        values = figures(service)
        outcomes = [values[f'sonyc_ml_serve_reloads_total{{outcome="{one}"}}'] for one in ("switched", "refused")]
        assert outcomes == ["1.0", "1.0"]
    assert service.process.returncode == 0


def test_a_port_that_is_taken(tiny_bundle: Path) -> None:
    """One sentence, and what to do."""
    with served("--model", tiny_bundle, "--port", 0) as service:
        port = service.connection().port
        with Served("--model", tiny_bundle, "--port", port) as other:
            assert other.process.wait(30) == 2
    where = f"127.0.0.1:{port}: Address already in use; choose another --port or --socket"
    assert other.lines[-1] == f"sonyc-ml: error: cannot listen on {where}\n"


def test_a_platform_says_where(tiny_bundle: Path) -> None:
    """AIP_ variables win over flags, and open it to other machines."""
    assert address_of({}) == {}
    asked = {"AIP_HTTP_PORT": "8601", "AIP_PREDICT_ROUTE": "/p", "AIP_HEALTH_ROUTE": "/h"}
    assert address_of(asked) == {"host": "0.0.0.0", "port": 8601, "predict_route": "/p", "health_route": "/h"}
    for wrong in ({"AIP_HTTP_PORT": "x"}, {"AIP_HTTP_PORT": "70000"}, {"AIP_PREDICT_ROUTE": "p"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            address_of(wrong)
    environment = {**os.environ, "AIP_PREDICT_ROUTE": "/p", "AIP_HEALTH_ROUTE": "/h"}
    with served("--model", tiny_bundle, "--port", 0, environment=environment) as service:
        assert service.ask("GET", "/h").status == 200
        assert service.ask("POST", "/p", SHORT).status == 200
