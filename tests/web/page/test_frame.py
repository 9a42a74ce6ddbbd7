"""The page's frame: where it is served, who may ask what, and what it says where there is nothing to see yet."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_S, needs
from tests.support.serving import READY_S, Served, served

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client"), needs("jinja2")]

TABLES = '[spool]\nfolder = "in"\n[output]\nfolder = "out"\n[model]\npath = "{}"\n[serve]\npredict = {}\n'
PAGES = ("/", "/detections", "/condition")


def configured(folder: Path, model: Path, predict: str) -> Path:
    """A configuration of a node that has not run yet."""
    (folder / "sonyc-ml.toml").write_text(TABLES.format(model, predict))
    return folder / "sonyc-ml.toml"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page of a node whose daemon has never run."""
    path = configured(tmp_path_factory.mktemp("node"), Path("model.tflite"), "false")
    with served("--config", path, "--port", 0) as service:
        yield service


@pytest.mark.parametrize("path", PAGES)
def test_it_is_there_before_the_daemon_has_run(fresh: Served, path: str) -> None:
    """Each page answers, and says in a sentence what is not there yet; nothing is made for it."""
    reply = fresh.ask("GET", path)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "daemon has not run here" in reply.body.decode()


@pytest.mark.parametrize("path", [*PAGES, "/metrics", "/health", "/static/page.css", "/nothing"])
def test_browsers_may_do_nothing_but_show_it(fresh: Served, path: str) -> None:
    """Whatever is answered has the headers: scripts and styles of this place alone, in no frame."""
    headers = fresh.ask("GET", path).headers
    policy = headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert not any("unsafe" in part or "http" in part or "data:" in part for part in policy)
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert "set-cookie" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_takes_no_orders(fresh: Served, method: str) -> None:
    """Only GET and HEAD: nothing can be changed here."""
    assert {fresh.ask(method, path).status for path in PAGES} == {405}
    assert {fresh.ask("HEAD", path).status for path in PAGES} == {200}


def test_only_this_machine_may_ask(fresh: Served) -> None:
    """A page elsewhere that has its name point here is refused."""
    assert fresh.ask("GET", "/", Host="evil.example").status == 400


@pytest.mark.parametrize("path", ["/static/../frame.py", "/static/%2e%2e%2fframe.py", "/static//etc/passwd", "/a/b"])
def test_nothing_else_has_an_address(fresh: Served, path: str) -> None:
    """A page to browsers and JSON to programs says so; links work from there, too."""
    reply = fresh.ask("GET", path, Accept="text/html")
    assert reply.status == 404
    up = "../" * (path.count("/") - 1)
    assert f'href="{up}static/page.css?' in reply.body.decode()
    assert fresh.ask("GET", path).json()["error"].startswith("there is no /")


def test_a_model_that_cannot_be_loaded_leaves_the_page(tiny_bundle: Path, tmp_path: Path) -> None:
    """Nothing is predicted then, and the log says why; with the model, the same service predicts."""
    broken = configured(tmp_path, tmp_path / "nothing.tflite", "true")
    with Served("--config", broken, "--port", 0) as service:
        service.said("nothing is predicted: .*nothing.tflite")
        assert service.ask("GET", "/").status == 200
        assert (service.ask("GET", "/health").status, service.ask("POST", "/predict", {}).status) == (503, 503)
    assert service.process.returncode == 0
    with served("--config", configured(tmp_path, tiny_bundle, "true"), "--port", 0) as service:
        assert service.ask("GET", "/health").json()["models"] == [tiny_bundle.stem]
        assert service.ask("GET", "/").status == 200


def test_the_configuration_says_where_it_listens_and_flags_win(tmp_path: Path) -> None:
    """A socket beside the file; with a port on the command line, there."""
    path = configured(tmp_path, Path("model.tflite"), 'false\nsocket = "serve.sock"')
    with served("--config", path) as service:
        assert service.ask("GET", "/").status == 200
        assert (tmp_path / "serve.sock").is_socket()
    with served("--config", path, "--port", 0) as service:
        assert service.said("listening on (.*)")[1].startswith("http://127.0.0.1:")
        assert not (tmp_path / "serve.sock").exists()


def test_a_configuration_that_is_wrong_is_refused(tmp_path: Path) -> None:
    """At the start, in a sentence, as the daemon does."""
    (tmp_path / "sonyc-ml.toml").write_text("[serve]\nprot = 1\n")
    with Served("--config", tmp_path / "sonyc-ml.toml") as service:
        service.said("error: .*sonyc-ml.toml: ")
        assert service.process.wait(PATIENCE_S) == 2


def test_it_ends_when_it_has_just_begun(tmp_path: Path) -> None:
    """A signal that comes while it begins is not lost."""
    path = configured(tmp_path, Path("model.tflite"), "false")
    with Served("--config", path, "--port", 0) as service:
        service.said("listening on")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(READY_S) == 0
