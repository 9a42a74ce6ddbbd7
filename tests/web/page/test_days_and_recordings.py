"""The pages of days and recordings over HTTP: what is asked for, what is refused, and the sound."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import needs
from tests.support.pictured import NO_SOUND, PicturedNode
from tests.support.serving import Reply, Served, until

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client"), needs("jinja2")]


def fields_of(pictured_node: PicturedNode, name: str) -> str:
    identity = pictured_node.identity(name)
    return f"name={quote(name)}&bytes={identity.n_bytes}&mtime_ns={identity.mtime_ns}"


def text_of(reply: Reply) -> str:
    """A page without its marks, blanks as one."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", reply.body.decode()))


def test_a_day_is_shown(pictured_service: Served, pictured_node: PicturedNode) -> None:
    """With pictures that have a text, the gap, and ways to other days."""
    reply = pictured_service.ask("GET", "/day?date=2026-11-21")
    page, text = reply.body.decode(), text_of(reply)
    assert reply.status == 200
    labels = re.findall(r'<svg class="plot"[^>]*aria-label="([^"]+)"', page)
    assert len(labels) == 4
    assert "2026-11-21 04:40:02 2026-11-21 08:00:00 3 h 19 min" in text
    assert 'href="day?date=2026-11-20"' in page
    assert "style=" not in page
    assert all(name in page for name in pictured_node.names)  # each is a mark on the map


def test_the_newest_day_is_shown_where_none_is_named(pictured_service: Served) -> None:
    """What was quarantined has the time of its file, so that is today."""
    assert 'rel="next"' not in pictured_service.ask("GET", "/day").body.decode()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("date=yesterday", "date must be a day"),
        ("date=0001-01-01", "from 1900-01-01"),
        ("from=2026-11-22&to=2026-11-21", "before it begins"),
        ("date=2026-11-21&bundle=7", "bundle must be a number from 0 to 0"),
    ],
)
def test_no_day_is_refused(pictured_service: Served, query: str, says: str) -> None:
    """With a sentence, as the page and as the csv."""
    for path in ("day", "day.csv"):
        reply = pictured_service.ask("GET", f"/{path}?{query}")
        assert reply.status == 400
        assert says in text_of(reply).replace("from must", "date must")


def test_an_empty_day_says_so(pictured_service: Served) -> None:
    """And when the history begins."""
    text = text_of(pictured_service.ask("GET", "/day?date=2020-02-29"))
    assert "Nothing that is known was recorded on this day. The history begins 2026-11-21" in text


def test_the_numbers_are_a_csv(pictured_service: Served, pictured_node: PicturedNode) -> None:
    """All of them, whole; who has them already gets none; another table is refused by name."""
    reply = pictured_service.ask("GET", "/day.csv?date=2026-11-21&table=map")
    rows = list(csv.reader(io.StringIO(reply.body.decode())))
    assert {row[0] for row in rows[1:]} == set(pictured_node.names)
    again = pictured_service.ask("GET", "/day.csv?date=2026-11-21&table=map", If_None_Match=reply.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert 'filename="2026-11-21_map.csv"' in reply.headers["content-disposition"]
    refused = pictured_service.ask("GET", "/day.csv?date=2026-11-21&table=../../etc/passwd")
    assert (refused.status, "levels.csv" in text_of(refused)) == (404, True)


def test_a_recording_is_shown(pictured_service: Served, pictured_node: PicturedNode) -> None:
    """Its sound, pictures on one axis, what became of it; and, where it is asked for, what sounds like it."""
    where = fields_of(pictured_node, pictured_node.names[-1])
    page = pictured_service.ask("GET", f"/recording?{where}").body.decode()
    assert page.count('class="plot"') >= 4
    image = re.search(r'<image[^>]*href="([^"]+)"', page)
    assert image
    assert pictured_service.ask("GET", "/" + image[1].replace("&amp;", "&")).body.startswith(b"\x89PNG")
    assert "its output is" in page
    assert "Compared with" not in page
    like = pictured_service.ask("GET", f"/recording?{where}&like=1").body.decode()
    assert "Compared with 26 recordings" in like
    assert f'href="recording?{quote("name")}={pictured_node.names[-3]}&amp;bytes' in like


def test_what_could_not_be_embedded_is_shown(pictured_service: Served, pictured_node: PicturedNode) -> None:
    """With the reason, and without a player."""
    reply = pictured_service.ask("GET", f"/recording?{fields_of(pictured_node, NO_SOUND)}")
    assert (reply.status, "<audio" in reply.body.decode()) == (200, False)
    assert "not a sound file" in text_of(reply)


@pytest.mark.parametrize("path", ["/recording", "/recording.csv", "/log-mel.png", "/sound"])
@pytest.mark.parametrize(
    "name", ["", "nobody.wav", "../sonyc-ml.toml", "/etc/passwd", "a//b.wav", "a%00.wav", "%ff.wav", "..%2f..%2fetc"]
)
def test_names_lead_nowhere(pictured_service: Served, path: str, name: str) -> None:
    """What the journal does not know is not there, whatever it is called."""
    reply = pictured_service.ask("GET", f"{path}?name={name}&bytes=1&mtime_ns=1&table=scores")
    assert reply.status == 404
    assert b"root:" not in reply.body


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("", 200, slice(None)),
        ("bytes=0-", 206, slice(0, None)),
        ("bytes=44-143", 206, slice(44, 144)),
        ("bytes=-100", 206, slice(-100, None)),
        ("bytes=32000-99999999", 206, slice(32000, None)),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("bytes=9-2", 416, slice(0, 0)),
        ("bytes=99999999-", 416, slice(0, 0)),
        ("bytes=-0", 416, slice(0, 0)),
        ("seconds=1-2", 200, slice(None)),
    ],
)
def test_the_sound_is_sent(
    pictured_service: Served, pictured_node: PicturedNode, asked: str, status: int, part: slice
) -> None:
    """All of it, or the part that a player asks for."""
    where, content = (
        fields_of(pictured_node, pictured_node.names[0]),
        (pictured_node.recordings / pictured_node.names[0]).read_bytes(),
    )
    reply = pictured_service.ask("GET", f"/sound?{where}", None, **({"Range": asked} if asked else {}))
    assert (reply.status, reply.body) == (status, content[part])
    assert (reply.headers["content-type"], reply.headers["accept-ranges"]) == ("audio/wav", "bytes")
    if status == 206:
        first, last = re.fullmatch(rf"bytes (\d+)-(\d+)/{len(content)}", reply.headers["content-range"]).groups()  # type: ignore[union-attr]
        assert content[int(first) : int(last) + 1] == reply.body
    head = pictured_service.ask("HEAD", f"/sound?{where}")
    assert (head.status, head.body, int(head.headers["content-length"])) == (200, b"", len(content))


def test_another_file_is_not_sent(pictured_service: Served, pictured_node: PicturedNode, tmp_path: Path) -> None:
    """Where another file, or a link to one, has the name of a recording, its sound is not there any more."""
    name = pictured_node.names[1]
    where, path, away = fields_of(pictured_node, name), pictured_node.recordings / name, tmp_path / name
    status = path.stat()
    path.rename(away)
    digest = hashlib.sha256(away.read_bytes())
    try:
        for put in (lambda: path.symlink_to(away), lambda: path.write_bytes(b"secret"), lambda: os.mkfifo(path)):
            put()
            reply = pictured_service.ask("GET", f"/sound?{where}")
            assert (reply.status, b"not kept any more" in reply.body) == (404, True)
            page = pictured_service.ask("GET", f"/recording?{where}")
            assert (page.status, "not kept any more" in text_of(page)) == (200, True)
            path.unlink()
    finally:
        away.rename(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert hashlib.sha256(pictured_service.ask("GET", f"/sound?{where}").body).digest() == digest.digest()


def test_files_are_not_left_open(pictured_service: Served, pictured_node: PicturedNode) -> None:
    """Whoever stops to listen in the middle leaves nothing behind."""
    where, folder = fields_of(pictured_node, pictured_node.names[2]), Path(f"/proc/{pictured_service.process.pid}/fd")
    pictured_service.ask("GET", "/health")
    for _ in range(5):
        connection = pictured_service.connection()
        connection.request("GET", f"/sound?{where}")
        connection.getresponse().read(10)
        connection.close()

    def are_closed() -> bool:
        return not any("recordings" in str(link.readlink()) for link in folder.iterdir() if link.exists())

    until(are_closed)
