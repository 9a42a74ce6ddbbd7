"""What the documentation says is true: its commands run, its help texts are the program's."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sonyc_ml
from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring import make as maker
from sonyc_ml.authoring.heads import dense_head
from sonyc_ml.node.config import load_config
from tests.conftest import PATIENCE_S, ROOT, needs, require_shared, write_recording
from tests.support import networks
from tests.support.printed import texts_of
from tests.support.serving import served

COMMANDS = ROOT / "docs" / "commands.md"
README = ROOT / "README.md"
DOCS = ROOT / "docs"
BUNDLES = ROOT / "docs" / "bundles.md"
LABELS = ROOT / "docs" / "labels.md"
LEVELS = ROOT / "docs" / "levels.md"
DETECTIONS = ROOT / "docs" / "detections.md"
OPERATIONS = ROOT / "docs" / "operations.md"
ARCHIVE = ROOT / "docs" / "archive.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
PICTURES = ROOT / "docs" / "pictures.md"
QUANTISING = ROOT / "docs" / "quantising.md"
HUB = ROOT / "docs" / "hub.md"
SEPARATE = ROOT / "docs" / "separate.md"
CLIENT = ROOT / "docs" / "client.md"
LISTEN = ROOT / "docs" / "listen.md"
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = (
    *(README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"),
    *sorted(page for page in (ROOT / "docs").glob("*.md") if page != COMMANDS),
    *sorted((ROOT / "examples").rglob("README.md")),
)
# What readers stumbled over who are not native speakers. The state is called shed; to shed is no verb here.
STUMBLING = re.compile(
    r"\b(mend(s|ed|ing)?|vouch\w*|at hand|by lot|anew|half as far again|of an output alone"
    r"|told|tell(s|ing)?|sheds|shedding"
    r"|(one|row|line|event|ms|MB|s|windows|recordings|multiplications|processes|seconds|keys|classifier)"
    r" an? (window|recording|line|row|core|second|minute|hour|class|worker|node|event))\b",
    re.IGNORECASE,
)
HELPS: tuple[list[str], ...] = (
    *([], ["watch"], ["listen"], ["embed"], ["separate"], ["info"], ["plot"]),
    *([command] for command in ("status", "explain", "audit", "list", "retry", "forget", "reload", "events", "doctor")),
    *([command] for command in ("labels", "compact", "check", "compare", "search", "clips", "serve")),
    *(["features", "export"], ["bundle"]),
    *(["bundle", action] for action in ("make", "quantise", "publish", "trust", "sign", "verify", "info")),
    *(["bundle", action] for action in ("rollout", "pull", "rollback")),
)


def help_of(arguments: list[str]) -> str:
    """The help text of a command, laid out for 100 columns."""
    command = [sys.executable, "-m", "sonyc_ml", *arguments, "--help"]
    environment = os.environ | {"COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def commands_page() -> str:
    """docs/commands.md as it should be; `python -m tests.journeys.test_docs` writes it."""
    parts = ["# Commands\n\nWhat `--help` says; a test keeps this page true.\n"]
    for arguments in HELPS:
        name = " ".join(["sonyc-ml", *arguments])
        parts.append(f"\n## `{name}`\n\n```text\n{help_of(arguments)}```\n")
    return "".join(parts)


def blocks(language: str, page: Path = README) -> list[str]:
    """A page's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def run_blocks(scripts: list[str], folder: Path) -> None:
    """Run shell blocks one after another, with the package's commands on the path."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for script in scripts:
        command = ["bash", "-euc", script]
        subprocess.run(command, cwd=folder, check=True, env=environment, capture_output=True, timeout=300)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A check-out as a user sees it: models/, recordings/, the package."""
    (tmp_path / "sonyc_ml").symlink_to(ROOT / "sonyc_ml")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "NAME.tflite").write_bytes(networks.dense((1, 64, 51, 1)))
    write_recording(tmp_path / "recordings" / "a.wav", seconds=2)
    return tmp_path


def test_readme_commands_run(workplace: Path) -> None:
    """Every command of the README works as it stands, in its order, and so does its Python."""
    scripts = [block for block in blocks("bash") if "scripts/" not in block]
    assert len(scripts) == 2
    run_blocks(scripts, workplace)
    run_python(blocks("python"), workplace)
    assert (workplace / "embeddings" / "a.wav.npz").exists()
    assert len(README.read_text().splitlines()) < 80


def test_the_first_page_and_the_one_of_python_work(workplace: Path) -> None:
    """What a newcomer copies, but for the installation."""
    run_blocks([block for block in blocks("bash", DOCS / "index.md") if "pip install" not in block], workplace)
    for page in ("index.md", "python.md"):
        run_python(blocks("python", DOCS / page), workplace)


def test_bundle_commands_run(workplace: Path) -> None:
    """Every command of docs/bundles.md works as it stands, in its order."""
    scripts = blocks("bash", BUNDLES)
    assert len(scripts) == 2
    run_blocks(scripts, workplace)


@needs("fsspec")
def test_rollout_commands_run(workplace: Path) -> None:
    """Every command of docs/rollout.md works as it stands, in its order."""
    scripts = blocks("bash", DOCS / "rollout.md")
    assert len(scripts) == 1
    run_blocks(scripts, workplace)
    rollout = json.loads((workplace / "store" / "NAME" / "rollout.json").read_text())
    assert (rollout["sequence"], rollout["share"], rollout["nodes"]) == (2, 1.0, ["*"])


@needs("ai_edge_quantizer")
def test_quantising_commands_run(workplace: Path) -> None:
    """Every command of docs/quantising.md works as it stands, in its order."""
    write_recording(workplace / "recordings" / "b.wav", seconds=2, seed=1)
    scripts = blocks("bash", QUANTISING)
    assert len(scripts) == 1
    run_blocks(scripts, workplace)
    assert (workplace / "models" / "NAME_int8.tflite").exists()


def test_hub_commands_run(workplace: Path) -> None:
    """Every command of docs/hub.md works as it stands, in its order, and so does its Python."""
    scripts = blocks("bash", HUB)
    assert len(scripts) == 1
    run_blocks(scripts, workplace)
    run_python(blocks("python", HUB), workplace)
    assert (workplace / "published" / "metadata.json").exists()
    assert (workplace / "saved" / "NAME.json").exists()


@needs("sklearn")
def test_labels_commands_run(workplace: Path) -> None:
    """Every command of docs/labels.md works as it stands, in its order, and so does its Python."""
    path = workplace / "models" / "NAME.tflite"
    exporter.export(path.with_suffix(".pkl"))
    maker.make_bundle(path)
    write_recording(workplace / "recordings" / "b.wav", seconds=2, seed=1)
    run_blocks(["sonyc-ml embed recordings/ --model models/NAME.tflite --output embeddings/"], workplace)
    pages = re.findall(r"```(bash|python)\n(.*?)```", LABELS.read_text(), re.DOTALL)
    assert [language for language, _ in pages] == ["python", "bash", "bash", "bash"]
    for language, block in pages:
        script = block if language == "bash" else f"python - <<'END'\n{block}END\n"
        run_blocks([script], workplace)
    assert (workplace / "labels" / "a.wav.txt").exists()


def test_listen_commands_run(workplace: Path) -> None:
    """The command of docs/listen.md works as it stands, and its configuration is one."""
    if shutil.which("sox") is None:
        pytest.skip("sox is not installed: apt-get install sox")
    maker.make_bundle(workplace / "models" / "NAME.tflite", input_kind="log_mel")
    (script,) = blocks("bash", LISTEN)
    run_blocks([script], workplace)
    assert len(list((workplace / "embeddings").glob("street_*Z.npz"))) == 3
    head = '[model]\npath = "models/NAME.tflite"\n[output]\nfolder = "embeddings"\n'
    (workplace / "c.toml").write_text(head + blocks("toml", LISTEN)[0])
    assert [source.name for source in load_config(workplace / "c.toml", {}).listen.source] == ["street", "yard", "hall"]


@needs("uvicorn")
def test_the_client_page_works(workplace: Path) -> None:
    """The Python of docs/client.md works as it stands; the daemon that one block needs is the one of its command."""
    (command,) = blocks("bash", CLIENT)
    own, daemon, service, stream = blocks("python", CLIENT)
    run_python([own, stream], workplace)
    with served("--model", workplace / "models" / "NAME.tflite", "--port", 0) as running:
        run_python([service.replace("127.0.0.1:8080", f"127.0.0.1:{running.connection().port}")], workplace)
    arguments = [sys.executable, "-m", "sonyc_ml", *command.split()[1:]]
    with subprocess.Popen(arguments, cwd=workplace, stderr=subprocess.DEVNULL) as process:
        wait_for((workplace / "audio.sock").exists)
        run_python([daemon], workplace)
        process.terminate()


def test_separate_commands_run(workplace: Path) -> None:
    """Every command of docs/separate.md works as it stands, with DTLN's networks, and so does its Python."""
    models = workplace / "models"
    for number in (1, 2):
        shutil.copy(require_shared(f"networks/dtln_model_{number}.tflite"), models)
    (models / "street.tflite").write_bytes(networks.scaling(64000, 0.5, 0.5))
    maker.make_bundle(models / "NAME.tflite", input_kind="log_mel")
    commands = blocks("bash", SEPARATE)
    assert len(commands) == 3
    run_blocks(commands, workplace)
    whole, denoised, remainder = (
        soundfile.read(path, dtype="float32")[0]
        for path in (workplace / "recordings" / "a.wav", *sorted((workplace / "tracks").glob("*.wav")))
    )
    np.testing.assert_array_equal(denoised + remainder, whole)
    run_python(blocks("python", SEPARATE), workplace)


@needs("duckdb")
@needs("pandas")
@needs("pyarrow")
def test_detections_commands_run(workplace: Path) -> None:
    """Every command of docs/detections.md works as it stands, in its order, and so does its Python; with its daemon."""
    exporter.export(workplace / "models" / "NAME.pkl")
    weights = np.random.default_rng(0).normal(0, 30, (2, 5)).astype(np.float32)
    head = dense_head(weights, np.zeros(2, np.float32), activation="sigmoid")
    (workplace / "models" / "NAME_head.tflite").write_bytes(head)
    (workplace / "models" / "labels.txt").write_text("street\nsiren\n")
    found = re.findall(r"```(bash|python|text)\n(.*?)```", DETECTIONS.read_text(), re.DOTALL)
    pages = [(language, block) for language, block in found if "…" not in block]  # that one needs BirdNET
    assert [kind for kind, _ in pages] == ["bash", "bash", "python", "bash", "python", "bash", "text", "bash"]
    *before, (_, command), (_, after) = pages
    for language, block in before:
        if language == "python":
            run_python([block], workplace)
        else:
            run_blocks([block], workplace)
    assert len(list((workplace / "labels").iterdir())) == 2
    arguments = command.split()[1:]
    daemon = subprocess.Popen([sys.executable, "-m", "sonyc_ml", *arguments], cwd=workplace, stderr=subprocess.DEVNULL)
    try:
        wait_for((workplace / "heard" / "a.wav.npz").exists)
        run_blocks([after], workplace)
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0


def test_levels_commands_run(workplace: Path) -> None:
    """Every command of docs/levels.md works as it stands, in its order, and so does its Python; its table is one."""
    times_s = np.arange(6 * 48000) / 48000
    soundfile.write(workplace / "tone.wav", 0.05 * np.sin(2 * np.pi * 1000 * times_s), 48000, subtype="PCM_24")
    run_blocks(blocks("bash", LEVELS), workplace)
    assert "sensitivity_db = 120.02" in (workplace / "microphone.toml").read_text()
    assert (workplace / "levels.csv").read_text().startswith("recording,time,start_s,measured_s,LAeq,")
    run_python(blocks("python", LEVELS), workplace)
    (workplace / "node.toml").write_text(
        f'[spool]\nfolder = "recordings"\n[output]\nfolder = "alone"\n{blocks("toml", LEVELS)[0]}'
    )
    config = load_config(workplace / "node.toml", {})
    settings = config.level_settings()
    assert settings is not None
    assert settings.calibrator == "4231-2518"
    assert config.model == ()


def test_picture_commands_run(workplace: Path) -> None:
    """Every command of docs/pictures.md works as it stands, in its order."""
    pytest.importorskip("matplotlib", reason="pictures are an extra")
    scripts = blocks("bash", PICTURES)
    assert len(scripts) == 1
    run_blocks(scripts, workplace)
    for name in ("a.svg", "embeddings/a.wav.npz.png", "day.pdf"):
        assert (workplace / name).exists()


def test_operations_commands_run(workplace: Path) -> None:
    """Every command of docs/operations.md and docs/events.md works as it stands, beside a daemon that runs."""
    (workplace / "recordings" / "bad.wav").write_bytes(b"no sound at all")
    command = [sys.executable, "-m", "sonyc_ml", "watch", "recordings", "--model", "models/NAME.tflite"]
    with (workplace / "log").open("wb") as log:
        daemon = subprocess.Popen([*command, "--output", "embeddings"], cwd=workplace, stderr=log)
    try:
        wait_for(lambda: "quarantined" in (workplace / "log").read_text())
        scripts = [*blocks("bash", OPERATIONS), *blocks("bash", DOCS / "events.md")]
        assert len(scripts) == 2
        run_blocks(scripts, workplace)
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0


@needs("duckdb")
@needs("pyarrow")
def test_archive_commands_run(workplace: Path) -> None:
    """Every command of docs/archive.md works as it stands, and so does its Python; but for stores and clusters."""
    scripts = blocks("bash", ARCHIVE)
    assert len(scripts) == 2
    run_blocks(scripts, workplace)
    run_python(blocks("python", ARCHIVE), workplace)


@needs("pandas")
@needs("pyarrow")
@needs("sklearn")
def test_the_tutorial_works(tmp_path: Path) -> None:
    """Every command and program of the tutorial works, and the node hears what it was taught."""
    (tmp_path / "models").mkdir()
    for path in (ROOT / "models").glob("quantized_default_int8*"):
        shutil.copy(path, tmp_path / "models")
    for i in range(1, 7):
        rng, t = np.random.default_rng(i), np.arange(32000) / 8000
        siren = 0.2 * np.sin(2 * np.pi * (700 * t + 30 * np.sin(2 * np.pi * (1 + i / 5) * t) * 5))
        for name, y in (("siren", siren), ("street", 0 * t)):
            path = tmp_path / "labelled" / name / f"{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, y + rng.normal(0, 0.01 * i, len(t)), 8000)
    text = TUTORIAL.read_text()
    for language, program in re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            run_python([program], tmp_path)
        elif not program.startswith("pip install"):
            run_blocks([program], tmp_path)
    (output,) = sonyc_ml.iter_outputs(tmp_path / "heard")
    assert output.labels == ("siren", "street")
    assert output.scores is not None
    assert output.scores[:, 0].mean() > 0.9


def run_python(programs: list[str], folder: Path) -> None:
    """Run Python blocks one after another, each in a process of its own."""
    for program in programs:
        subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, timeout=120, stdout=subprocess.DEVNULL)


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_readme_scripts_exist() -> None:
    """The two commands are there, executable, and free of syntax errors."""
    (block,) = [block for block in blocks("bash") if "scripts/" in block]
    scripts = re.findall(r"^(scripts/\w+)", block, re.MULTILINE)
    assert scripts == ["scripts/run", "scripts/test"]
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK)
        subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_links_lead_somewhere() -> None:
    """Every relative link of the documentation names a file that is there."""
    for page in (*PAGES, COMMANDS):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def missing_files(text: str) -> list[str]:
    """Files (by their path) and modules (by their dotted name) that a text names and this repository does not have."""
    paths = re.findall(r"(?<![\w/.-])((?:sonyc_ml|tests|scripts|deploy|docs|examples)/[\w./-]*\w)", text)
    names = re.findall(r"\bsonyc_ml(?:\.[A-Za-z_]\w*)+(?!\w|\.?/)", text)
    gone = [path for path in paths if not (ROOT / path).exists()]
    return gone + [name for name in names if not is_name(name)]


def is_name(name: str) -> bool:
    """Whether the dotted name of a module, or of something in it, leads somewhere."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize(
    "text", ["see `sonyc_ml/errors.py` and sonyc_ml.model.Extractor", "https://x.org/docs/gone.md"]
)
def test_what_is_there_is_found(text: str) -> None:
    """Files and modules that exist, and addresses elsewhere, pass the next test's check."""
    assert not missing_files(text)


@pytest.mark.parametrize("gone", ["sonyc_ml/crew.py", "sonyc_ml.places", "sonyc_ml.model.Places", "docs/gone.md"])
def test_what_is_gone_is_found(gone: str) -> None:
    """The check of the next test finds files and modules that are not there."""
    assert missing_files(f"The work is done by `{gone}`.") == [gone]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_what_is_there(page: Path) -> None:
    """A page names no file and no module of this repository that does not exist."""
    assert not missing_files(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_in_plain_words(page: Path) -> None:
    """No word comes back that readers stumbled over; what the program prints is another matter."""
    prose = re.sub(r"```text\n.*?```", "", page.read_text(), flags=re.DOTALL)
    assert not [found[0] for found in STUMBLING.finditer(prose)]


def test_deployed_texts_are_in_plain_words() -> None:
    """Nor in the configuration, the unit, drop-ins, alert rules, the dashboard or what the installer says."""
    for path in (path for path in (ROOT / "deploy").rglob("*") if path.is_file()):
        found = [found[0] for found in STUMBLING.finditer(path.read_text())]
        assert not found, f"{path.name}: {found}"


def test_messages_and_helps_are_in_plain_words() -> None:
    """Nor in what the package says: messages, helps, and the page that is made of them."""
    texts = {path: list(texts_of(path)) for path in [*(ROOT / "sonyc_ml").rglob("*.py"), COMMANDS]}
    said = {str(path.relative_to(ROOT)): STUMBLING.search("\n".join(found)) for path, found in texts.items()}
    assert {name: found[0] for name, found in said.items() if found} == {}


@pytest.mark.parametrize("words", ["a row a window", "an event a line", "one a core", "told of", "mend it", "at hand"])
def test_stumbling_words_are_found(words: str) -> None:
    """The words that readers stumbled over are found by the check."""
    assert STUMBLING.search(f"It is {words}.")


def test_the_glossary_is_short() -> None:
    """The glossary has fifteen words at most, and the README leads to it."""
    rows = re.findall(r"^\| (?!word \|)([\w ]+) \|", GLOSSARY.read_text(), re.MULTILINE)
    assert 10 <= len(rows) == len(set(rows)) <= 15
    assert "(docs/glossary.md)" in README.read_text()


def test_flags_have_hyphens_in_the_pages() -> None:
    """Pages write flags with hyphens; where SONYC's own spellings are named, they are called that."""
    for page in PAGES:
        for line in page.read_text().splitlines():
            assert not re.search(r"--\w+_\w+", line) or "SONYC" in line, f"{page.name}: {line}"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse lays out its help differently in each Python")
def test_commands_page_is_what_help_says() -> None:
    """docs/commands.md is the help texts; write it anew with `python -m tests.journeys.test_docs`."""
    assert COMMANDS.read_text() == commands_page()


if __name__ == "__main__":
    COMMANDS.write_text(commands_page())
