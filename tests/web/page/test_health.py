"""What the page of health says: of retention, of bundles, of what was given up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sonyc_ml.node.config import ModelConfig, RetentionConfig
from tests.conftest import needs

pytestmark = [needs("starlette"), needs("jinja2")]

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

from sonyc_ml.web.page.cards import bundle_cards, versions  # noqa: E402
from sonyc_ml.web.page.health import retention_sentences  # noqa: E402
from sonyc_ml.web.page.texts import ago, breakable, label, safe, time_text  # noqa: E402


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (RetentionConfig(), "Recordings are kept"),
        (RetentionConfig("delete", states=("done", "shed")), "embedded or shed are deleted, and only after proof"),
        (RetentionConfig("move", Path("/old"), after_s=86400.0), "moved to /old, 1 d after that"),
        (
            RetentionConfig("delete", free_low=0.1, free_high=0.2),
            "when less than 10% of the disk is free, until 20% is",
        ),
    ],
)
def test_retention_is_said_in_words(settings: RetentionConfig, says: str) -> None:
    """What becomes of recordings, when, and for how long the journal knows each."""
    sentences = retention_sentences(settings)
    assert says in " ".join(sentences)
    assert "90 days" in sentences[-1]


def test_a_bundle_shows_its_card_and_what_runs(tiny_bundle: Path) -> None:
    """A bundle on the disk that is another than the one that runs is seen to be."""
    running = {"path": str(tiny_bundle), "version": "0.0.1"}
    (card,) = bundle_cards((ModelConfig(tiny_bundle),), [running])
    assert (card["name"], card["runs"], card["problem"], card["is_other"]) == (tiny_bundle.stem, running, "", True)
    running["version"] = card["manifest"].version
    (card,) = bundle_cards((ModelConfig(tiny_bundle),), [running])
    assert card["is_other"] is False


@pytest.mark.parametrize("content", [None, b"{", b'{"schema_version": 2}', b"[" * 100_000])
def test_a_bundle_that_cannot_be_read_is_said_to(tiny_bundle: Path, tmp_path: Path, content: bytes | None) -> None:
    """In a sentence that names its manifest; the page goes on."""
    path = Path(shutil.copy(tiny_bundle, tmp_path))
    if content is not None:
        path.with_suffix(".json").write_bytes(content)
    (card,) = bundle_cards((ModelConfig(path),), [])
    assert card["manifest"] is None
    assert str(path.with_suffix(".json")) in card["problem"]
    assert "\n" not in card["problem"]
    json.dumps(card["problem"])


def test_versions_name_what_is_here() -> None:
    """Ours, Python's, the runtime's, the system's; nothing that is not installed."""
    found = dict(versions())
    assert {"sonyc-ml", "Python", "SQLite", "numpy", "system", "kernel"} <= set(found)
    assert all(found.values())


def test_texts_are_safe_and_readable() -> None:
    """Whatever a name or a class holds is text, and times are for people and programs."""
    assert safe("a\nb\u202e") == "a\\nb\\u202e"
    assert label("Turdus merula_<b>") == '<bdi>&lt;b&gt;</bdi> <i class="minor" lang="la">Turdus merula</i>'
    assert breakable("<i>/" + "x" * 40) == "&lt;i&gt;/<wbr>" + "x" * 40
    assert time_text(0.0) == '<time datetime="1970-01-01T00:00:00+00:00">1970-01-01 00:00:00 UTC</time>'
    assert [ago(seconds) for seconds in (-5.0, 0.5, 59.0, 754.0, 90_061.0)] == [
        "just now",
        "just now",
        "59 s ago",
        "12 min ago",
        "1 d 1 h ago",
    ]
