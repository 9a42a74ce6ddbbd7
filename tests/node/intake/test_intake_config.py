"""``[listen]`` of the configuration: strict, documented by the shipped file, and imported where it is there alone."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import Config, load_config
from sonyc_ml.node.intake.config import ClipsConfig, ListenConfig, SourceConfig, plain_name
from tests.conftest import ROOT

HEAD = '[output]\nfolder = "out"\n[model]\npath = "m.tflite"\n'
SOURCE = '[[listen.source]]\nname = "a"\nstdin = true\n'
SHIPPED = ROOT / "deploy" / "sonyc-ml.toml"


def load(folder: Path, text: str) -> Config:
    (folder / "c.toml").write_text(HEAD + text)
    return load_config(folder / "c.toml", {})


def test_a_node_that_only_listens_needs_no_spool(tmp_path: Path) -> None:
    """A folder beside the journal serves for what is to be spooled; paths are relative to the file."""
    config = load(tmp_path, SOURCE.replace("stdin = true", 'socket = "a.sock"'))
    assert config.spool.folder == tmp_path / "out" / ".sonyc-ml" / "spool"
    assert config.listen.source == (SourceConfig("a", socket=tmp_path / "a.sock"),)
    config = load(tmp_path, SOURCE + '[state]\nfolder = "s"\n')
    assert config.spool.folder == tmp_path / "s" / "spool"
    config = load(tmp_path, SOURCE + '[spool]\nfolder = "in"\n')
    assert (config.spool.folder, config.listen) == (tmp_path / "in", ListenConfig((SourceConfig("a", stdin=True),)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[listen]\n", r"listen\.source is missing: write \[\[listen\.source\]\]"),
        ("[listen]\nsegmnt_s = 1\n" + SOURCE, r"listen\.segmnt_s is not a known key; did you mean listen\.segment_s"),
        ("[listen]\nsegment_s = 0\n" + SOURCE, r"segment_s must be from 0\.1 to 3600 s, not 0"),
        ("[listen]\nsegment_s = nan\n" + SOURCE, r"segment_s must be .* not nan"),
        ("[listen]\nsegment_s = 40\n" + SOURCE, "max_buffer_s must be at least two segments, 80 s, not 60"),
        ("[listen]\nstall_s = 0\n" + SOURCE, "stall_s must be above 0, not 0"),
        ('[listen]\nspool = "now"\n' + SOURCE, "spool must be never or on-lag or always, not 'now'"),
        ('[listen]\nspool = "always"\ngapless = true\n' + SOURCE, "gapless: files are embedded one by one"),
        (SOURCE + SOURCE, "two are called a; their recordings"),
        ("[listen]\nsource = 3\n", "listen.source must be a table, not 3"),
        (SOURCE.replace('"a"', '"a b"'), "name must be of letters, digits, dots and hyphens, at most 64, not 'a b'"),
        (SOURCE.replace("stdin = true", ""), "a needs just one of command, socket, port and stdin, and has nothing"),
        (SOURCE + "port = 5\n", "has port and stdin"),
        (SOURCE.replace("stdin = true", "port = 70000"), "port must be from 1 to 65535, not 70000"),
        (SOURCE + "channels = 2\n", "a: sample_format and channels are those of raw PCM; give its sample_rate too"),
        (SOURCE + 'sample_rate = 8000\nsample_format = "S7"\n', "sample_format must be one of S8, U8"),
        ("listen = 3\n", "listen must be a table, not 3"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    """Every mistake is one sentence that names the file, the key and what it takes."""
    (tmp_path / "c.toml").write_text(text + HEAD if text.startswith("listen") else HEAD + text)
    with pytest.raises(ConfigError, match=rf"c\.toml.*{message}"):
        load_config(tmp_path / "c.toml", {})


def test_the_shipped_file_shows_every_key_and_default(tmp_path: Path) -> None:
    """Its lines on live sound, the # before them removed, know every key and say the true defaults."""
    shown = re.findall(r"(?m)^#([\w\[].*)$", SHIPPED.read_text())
    listen = tomllib.loads("\n".join(shown))["listen"]
    (source,) = listen["source"]
    for cls, values in ((ListenConfig, listen), (SourceConfig, source), (ClipsConfig, listen["clips"])):
        assert set(values) <= {field.name for field in dataclasses.fields(cls)}
        for field in dataclasses.fields(cls):
            assert field.name in values, f"{field.name} is not in {SHIPPED.name}"
            if field.default not in (dataclasses.MISSING, None, ()):
                assert values[field.name] == field.default
    one = [line for line in shown if not line.startswith(("socket", "port", "stdin"))]
    load(tmp_path, "\n".join(one))


def test_names_that_others_give_themselves() -> None:
    """A name is a part of a file's name, whatever comes over a socket."""
    assert plain_name("Küche 1/../x") == "K-che-1-..-x"
    assert plain_name("../\0") == ""
    assert len(plain_name("a" * 500)) == 64


def test_a_daemon_without_live_sound_imports_none_of_it(tmp_path: Path) -> None:
    """Neither the configuration nor the daemon needs it, and its start is no longer for it."""
    (tmp_path / "c.toml").write_text(HEAD + '[spool]\nfolder = "in"\n')
    program = (
        "import sys; from pathlib import Path; from sonyc_ml.node.config import load_config; "
        f"load_config(Path({str(tmp_path / 'c.toml')!r}), {{}}); import sonyc_ml.node.daemon; "
        "print([n for n in sys.modules if '.live' in n or '.intake' in n or n == 'sonyc_ml.node.operate.sources'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
