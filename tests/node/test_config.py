"""The configuration file: strict, and documented by the one that is shipped."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import Config, ModelConfig, load_config
from sonyc_ml.node.upload.config import UploadConfig
from tests.conftest import ROOT

SHIPPED = ROOT / "deploy" / "sonyc-ml.toml"

MINIMAL = """
[spool]
folder = "in"
[model]
path = "m.tflite"
[output]
folder = "out"
"""
SEVERAL = MINIMAL.replace("[model]", "[[model]]") + '[[model]]\npath = "n.tflite"\nhop_size = 0.5\n'


def _load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "sonyc-ml.toml"
    path.write_text(text)
    return load_config(path, {})


def _tables() -> dict[str, type]:
    """The dataclass of each table; that of `model` is the one of its items."""
    hints = typing.get_type_hints(Config)
    named = {name: (typing.get_args(hint) or (hint,))[0] for name, hint in hints.items() if hint is not Any}
    return {**named, "upload": UploadConfig}  # which the configuration imports where it is asked for


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """A configuration means the same from every working directory."""
    text = MINIMAL.replace("[output]", 'trusted_keys = "keys"\n[output]')
    text += '[retention]\nfolder = "done"\n[state]\nfolder = "../state"\n'
    config = _load(tmp_path, text)
    assert config.spool.folder == tmp_path / "in"
    assert config.model[0].path == tmp_path / "m.tflite"
    assert config.model[0].trusted_keys == tmp_path / "keys"
    assert config.output.folder == tmp_path / "out"
    assert config.retention.folder == tmp_path / "done"
    assert config.state_folder == tmp_path / "../state"


def test_every_path_is_relative_to_the_file() -> None:
    """No table has a path that would be taken from the working directory."""
    from sonyc_ml.node.config_file import PATHS

    paths = {
        (name, field.name)
        for name, table in _tables().items()
        for field in dataclasses.fields(table)
        if Path
        in (typing.get_type_hints(table)[field.name], *typing.get_args(typing.get_type_hints(table)[field.name]))
    }
    assert paths == {*PATHS, ("upload", "folder")}  # which the table itself makes relative


def test_detections_are_asked_for_every_bundle_or_one(tmp_path: Path) -> None:
    """[detections] holds for all, [model.detections] for one, key by key; a table without keys asks for nothing."""
    text = SEVERAL + "[model.detections]\nthreshold = 0.9\n[detections]\nthreshold = 0.3\nmerge_s = false\n"
    first, second = _load(tmp_path, text).model
    assert first.parameters()["detections"] == {"threshold": 0.3, "merge_s": False}
    assert second.parameters()["detections"] == {"threshold": 0.9, "merge_s": False}
    assert "detections" not in _load(tmp_path, MINIMAL + "[detections]\n").model[0].parameters()
    kept = _load(tmp_path, MINIMAL + 'scores = "top-k"\nscore_dtype = "float16"\n').output.keep()
    assert kept == {"scores": "top-k", "score_dtype": "float16"}


def test_the_journal_lies_with_the_outputs(tmp_path: Path) -> None:
    """It is an index of them, and goes where they go, where nothing else is said."""
    assert _load(tmp_path, MINIMAL).state_folder == tmp_path / "out" / ".sonyc-ml"


def test_command_line_wins(tmp_path: Path) -> None:
    """What the command line says is taken as it is, the rest from the file."""
    path = tmp_path / "c.toml"
    path.write_text(MINIMAL)
    config = load_config(path, {"model": {"path": "other.tflite", "num_threads": 2}})
    assert config.model == (ModelConfig(Path("other.tflite"), num_threads=2),)
    assert config.spool.folder == tmp_path / "in"


def test_the_command_line_alone_is_enough() -> None:
    """Three values are needed, and no file."""
    config = load_config(None, {"spool": {"folder": "in"}, "model": {"path": "m.tflite"}, "output": {"folder": "out"}})
    assert (config.spool.folder, config.model[0].path) == (Path("in"), Path("m.tflite"))


def test_only_what_says_something_reaches_the_model(tmp_path: Path) -> None:
    """A key that is not written leaves the choice to the model."""
    config = _load(tmp_path, MINIMAL.replace("[output]", "hop_size = 1\noutputs = {scores = 0}\n[output]"))
    assert config.model[0].parameters() == {
        "hop_size": 1.0,
        "outputs": {"scores": 0},
        "golden": "once",
        "num_threads": 1,
        "batch_size": 1,
        "reference_kernels": False,
    }


def test_several_bundles(tmp_path: Path) -> None:
    """Several [[model]] are as many bundles, each with its keys and with a folder of its own."""
    config = _load(tmp_path, SEVERAL)
    assert config.model == (ModelConfig(tmp_path / "m.tflite"), ModelConfig(tmp_path / "n.tflite", hop_size=0.5))
    assert config.output_folders == (tmp_path / "out" / "m", tmp_path / "out" / "n")


def test_one_bundle_has_the_folder_for_itself(tmp_path: Path) -> None:
    """However its table is written."""
    config = _load(tmp_path, MINIMAL)
    assert config.output_folders == (tmp_path / "out",)
    assert _load(tmp_path, MINIMAL.replace("[model]", "[[model]]")) == config


def test_the_command_line_knows_one_bundle(tmp_path: Path) -> None:
    """Of one [[model]] it may say more; of several it cannot say which."""
    path = tmp_path / "c.toml"
    path.write_text(MINIMAL.replace("[model]", "[[model]]"))
    assert load_config(path, {"model": {"hop_size": 0.2}}).model == (ModelConfig(tmp_path / "m.tflite", hop_size=0.2),)
    assert load_config(path, {"model": {"path": "n.tflite"}}).model == (ModelConfig(Path("n.tflite")),)
    path.write_text(SEVERAL)
    assert len(load_config(path, {"model": {}}).model) == 2
    with pytest.raises(ConfigError, match=r"several \[\[model\]\]; change hop_size and golden there, not by a flag"):
        load_config(path, {"model": {"hop_size": 0.2, "golden": "never"}})


def _with(table: str, line: str) -> str:
    return (
        MINIMAL.replace(f"[{table}]", f"[{table}]\n{line}")
        if f"[{table}]" in MINIMAL
        else f"{MINIMAL}[{table}]\n{line}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace("folder", "foldr", 1), r"spool\.foldr is not a known key; did you mean spool\.folder\?"),
        (MINIMAL + "[detections]\nthreshold = 1.5\n", r"a threshold must be in \[0, 1\]: is 1\.5"),
        (MINIMAL + "[detections]\nmerge_s = true\n", "merge_s must be a number of seconds, or false for no merging"),
        (
            MINIMAL + "[detections]\nmerge = 1\n",
            r"detections\.merge is not a known key; did you mean detections\.merge_s",
        ),
        (MINIMAL + 'scores = "some"\n', r"output\.scores must be all or top-k or none, not 'some'"),
        (MINIMAL + "[serve]\nport = 70000\n", r"serve\.port must be from 0, any that is free, to 65535, not 70000"),
        (MINIMAL + "[serve]\nworkers = 0\n", r"serve\.workers must be above 0, not 0; for no predictions, say predict"),
        (MINIMAL + "[zzz]\n", r"zzz is not a known key; known are spool, model, output, recordings, overload"),
        (MINIMAL.replace('path = "m.tflite"', "path = 3"), r"model\.path must be a path, not 3"),
        (_with("output", "format = 1"), r"output\.format must be a string, not 1"),
        (_with("output", 'format = "pkl"'), r"output\.format must be npz or csv, not 'pkl'"),
        (_with("spool", "settle_s = true"), r"spool\.settle_s must be a number, not True"),
        (_with("spool", "settle_s = 0"), r"spool\.settle_s must be above 0, not 0"),
        (_with("spool", "rescan_s = -1"), r"spool\.rescan_s must be above 0, not -1"),
        (_with("spool", "poll_s = 0.0"), r"spool\.poll_s must be above 0, not 0"),
        (_with("spool", "quiet_after_s = -1"), r"spool\.quiet_after_s must not be below 0, and is -1"),
        (_with("spool", 'discovery = "magic"'), r"discovery must be auto or inotify or polling, not 'magic'"),
        (_with("spool", "extensions = ['wav']"), r"extensions must be like '\.wav'.*not 'wav'"),
        (_with("spool", "extensions = ['.WAV']"), r"extensions must be like '\.wav', lower case.*not '\.WAV'"),
        (_with("spool", "extensions = '.wav'"), r"extensions must be a list of strings, not '\.wav'"),
        (_with("spool", "extensions = {}"), r"extensions must be a list of strings, not \{\}"),
        (_with("model", "outputs = {scores = 1.5}"), r"outputs\.scores must be a whole number or a string, not 1\.5"),
        (_with("model", "num_threads = 1.5"), r"num_threads must be a whole number, not 1\.5"),
        (
            _with("recordings", 'unfinished = "hope"'),
            r"recordings\.unfinished must be salvage or quarantine, not 'hope'",
        ),
        (_with("recordings", "abandoned_s = 0"), r"recordings\.abandoned_s must be above 0, not 0"),
        (_with("recordings", "max_attempts = 0"), r"recordings\.max_attempts must be above 0, not 0"),
        (_with("recordings", "start_patterns = ['%Q']"), r"recordings\.start_patterns.*'%Q'"),
        (
            _with("recordings", "start_patterns = [1]"),
            r"recordings\.start_patterns must be a list of strings, not \[1\]",
        ),
        (_with("recordings", "time_zone = 'Atlantis'"), r"recordings\.time_zone.*'Atlantis'"),
        (
            _with("overload", "policy = 'panic'"),
            r"overload\.policy must be oldest-first or newest-first or stretch-hop",
        ),
        (_with("overload", "max_age_s = 0"), r"overload\.max_age_s must be above 0, not 0"),
        (_with("overload", "max_recordings = 0"), r"overload\.max_recordings must be above 0, not 0"),
        (_with("overload", "lags_s = [1]"), r"overload\.hop_sizes_s and lags_s must have as many numbers"),
        (
            _with("overload", "lags_s = [1, 3, 2]"),
            r"overload\.lags_s must be above 0 and rise, not \[1\.0, 3\.0, 2\.0\]",
        ),
        (_with("overload", "hop_sizes_s = [0, 1, 2]"), r"overload\.hop_sizes_s must be above 0 and rise"),
        (_with("overload", "lags_s = ['a']"), r"overload\.lags_s must be a list of numbers, not \['a'\]"),
        (_with("overload", "lags_s = 60"), r"overload\.lags_s must be a list of numbers, not 60"),
        (_with("retention", "policy = 'burn'"), r"retention\.policy must be keep or move or delete, not 'burn'"),
        (_with("retention", "policy = 'move'"), r"retention\.folder is missing: say where recordings are moved to"),
        (_with("retention", "every_s = 0"), r"retention\.every_s must be above 0"),
        (_with("retention", "history_days = 0"), r"retention\.history_days must be above 0"),
        (_with("retention", "after_s = -1"), r"retention\.after_s must not be below 0, and is -1"),
        (_with("retention", "free_low = 0.3\nfree_high = 0.2"), r"retention\.free_low and free_high must be shares"),
        (_with("retention", "free_high = 1"), r"retention\.free_low and free_high must be shares of the disk"),
        (_with("retention", "states = ['pending']"), r"retention\.states may be done, quarantined and shed, not 'pend"),
        (_with("process", "nice = 20"), r"process\.nice must be from -20 to 19, not 20"),
        (_with("process", "memory_mb = 63"), r"process\.memory_mb must be at least 64, not 63"),
        (_with("process", "summary_s = 0"), r"process\.summary_s must be above 0, not 0"),
        (_with("state", "folder = 1"), r"state\.folder must be a path, not 1"),
        (SEVERAL.replace("n.tflite", "sub/m.tflite"), r"two bundles are called m; their outputs would have the same"),
        (SEVERAL.replace("hop_size", "hop_sizes"), r"model\[1\]\.hop_sizes is not a known key; did you mean"),
        (SEVERAL.replace("0.5", "'far'"), r"model\[1\]\.hop_size must be a number, not 'far'"),
        ("model = []" + MINIMAL.replace('[model]\npath = "m.tflite"', ""), r"model.*--model NAME\.tflite"),
        ("model = 3" + MINIMAL.replace('[model]\npath = "m.tflite"', ""), r"model must be a table, not 3"),
        ("spool = 3", r"spool must be a table"),
        ("[spool", r"is not TOML"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    """Every mistake is one sentence that names the file, the key and what it takes."""
    with pytest.raises(ConfigError, match=rf"sonyc-ml\.toml.*{message}") as caught:
        _load(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("spool", "settle_s"),
        ("spool", "quiet_after_s"),
        ("recordings", "abandoned_s"),
        ("overload", "max_age_s"),
        ("retention", "after_s"),
        ("process", "summary_s"),
    ],
)
def test_what_is_no_number_is_no_number_of_seconds(tmp_path: Path, table: str, key: str) -> None:
    """TOML knows nan, which is neither above 0 nor below it."""
    with pytest.raises(ConfigError, match=rf"{table}\.{key} must .*nan"):
        _load(tmp_path, _with(table, f"{key} = nan"))


@pytest.mark.parametrize(
    "lines",
    [
        '[spool]\ndiscovery = "polling"\nquiet_after_s = 0',
        '[overload]\npolicy = "stretch-hop"\nhop_sizes_s = [1]\nlags_s = [5]',
        "[overload]\nhop_sizes_s = []\nlags_s = []",
        '[retention]\npolicy = "delete"\nfree_low = 0.1\nfree_high = 0.1\nstates = ["done", "quarantined", "shed"]',
        "[process]\nnice = -20\nmemory_mb = 64",
        "[recordings]\nstart_patterns = []\ntime_zone = 'Europe/Berlin'\nunfinished = 'quarantine'",
    ],
)
def test_what_may_be_said(tmp_path: Path, lines: str) -> None:
    """The edges of what each key takes are taken."""
    head, _, rest = lines.partition("\n")
    _load(tmp_path, _with(head.strip("[]"), rest))


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"spool": {"folder": "a\0b"}}, "spool.folder"),
        ({"output": {"folder": "\0"}}, "output.folder"),
        ({"mqtt": {"cert_file": "a\0"}}, "mqtt.cert_file"),
        ({"state": {"folder": "\0x"}}, "state.folder"),
    ],
)
def test_a_path_without_a_file_is_refused(tables: dict[str, dict[str, str]], key: str) -> None:
    """A zero character in a path is told with its key, before the system is asked for it."""
    usual = {"spool": {"folder": "in"}, "output": {"folder": "out"}, "model": {"path": "m.tflite"}}
    with pytest.raises(ConfigError, match=rf"{re.escape(key)} holds a zero character"):
        load_config(None, usual | tables)


def test_no_extension_is_refused() -> None:
    """Without one nothing would ever be a recording."""
    with pytest.raises(ConfigError, match=r"spool\.extensions is empty"):
        load_config(
            None,
            {"spool": {"folder": "in", "extensions": []}, "output": {"folder": "out"}, "model": {"path": "m.tflite"}},
        )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_mark_before_the_text_is_taken(end: str, tmp_path: Path) -> None:
    """Some editors put a byte-order mark at the beginning of a file, and ends of lines of their own."""
    lines = ("[spool]", 'folder = "in"', "[output]", 'folder = "out"', "[model]", 'path = "m.tflite"', "")
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbf" + end.join(lines).encode())
    assert load_config(tmp_path / "c.toml", {}).spool.folder == tmp_path / "in"


def test_a_file_that_is_no_text_is_a_configuration_error(tmp_path: Path) -> None:
    """Latin-1, say, is not TOML, and nobody sees a traceback for it."""
    (tmp_path / "c.toml").write_bytes("# Stra\u00dfe".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"c\.toml is not TOML"):
        load_config(tmp_path / "c.toml", {})


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    """A file that is not there is said to be not there."""
    with pytest.raises(ConfigError, match=r"nothing\.toml: No such file"):
        load_config(tmp_path / "nothing.toml", {})


def test_the_shipped_file_loads() -> None:
    """The annotated configuration is one that works, and shows only defaults."""
    config = load_config(SHIPPED, {})
    assert config.model[0].path == SHIPPED.parent / "../models/quantized_default_int8.tflite"
    for name, table in _tables().items():
        value = config.model[0] if name == "model" else getattr(config, name)
        required = {
            field.name: getattr(value, field.name) for field in dataclasses.fields(table) if _is_required(field)
        }
        assert value == table(**required)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    value = field.default if made is dataclasses.MISSING else made()
    return list(value) if isinstance(value, tuple) else value


def test_the_shipped_file_shows_every_key_and_default(tmp_path: Path) -> None:
    """The annotated configuration, its comments taken away, knows every key and says the true defaults."""
    text = re.sub(r"(?m)^# (?=\w+ = )", "", SHIPPED.read_text())
    _load(tmp_path, text)
    shown = tomllib.loads(text)
    assert list(shown) == [name for name in shown if name in _tables()]
    for name, table in _tables().items():
        for field in dataclasses.fields(table):
            assert field.name in shown.get(name, {}), f"{name}.{field.name} is not in {SHIPPED.name}"
            if "machine" in field.metadata:
                continue  # what is the machine's own is shown by an example
            if not _is_required(field) and _default(field) not in (None, {}):
                assert shown[name][field.name] == _default(field), f"{name}.{field.name} has another default"


@pytest.mark.parametrize(
    ("text", "n_models"),
    [("[levels]\nperiod_s = 1.0", 0), ("[levels]\nperiod_s = 1.0\n[model]", 1), ("", 1), ("[model]", 1)],
)
def test_levels_switch_no_network_off(tmp_path: Path, text: str, n_models: int) -> None:
    """Levels alone are measured where there is no [model]; without a path it is the default bundle."""
    path = tmp_path / "sonyc-ml.toml"
    path.write_text(f'[spool]\nfolder = "a"\n[output]\nfolder = "b"\n{text}\n')
    flags: dict[str, dict[str, object]] = {"model": {}, "detections": {}}  # as of a command without flags
    assert len(load_config(path, flags).model) == n_models
