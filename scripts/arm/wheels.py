"""Packages of Python's for another processor: what a node installs, and what its tests need besides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from scripts.arm.debian import kept
from scripts.arm.processors import ROOT, Processor, SkippedError
from scripts.lock_files import locked

PYTHON = ("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
EXTRAS = ("soxr", "mqtt")
# To build systemd-python, of which there is only the source.
BUILDERS = ("setuptools", "wheel")
# Of the extra "test", what is for a developer's machine and not for a node.
ON_X86_ONLY = frozenset({"import-linter", "librosa", "mypy", "pytest-cov", "ruff", "soxr"})
SCHEMA = "ai_edge_litert/schema_py_generated.py"


def for_node(processor: Processor, userland: Path) -> Path:
    """A folder of everything that an installation without a network needs, but sonyc-ml itself."""
    base, source = (locked(processor.machine, "3.11", group) for group in ("base", "source"))
    what = (processor.name, [*base, *source], "2")
    return kept(f"wheels-{processor.name}", what, lambda folder: _download(processor, base, source, userland, folder))


def _download(processor: Processor, base: list[str], source: list[str], userland: Path, folder: Path) -> None:
    listed = folder / "requirements.txt"
    into = ("download", "--dest", folder, "--no-deps", "--require-hashes", "--requirement", listed)
    listed.write_text("\n".join(base))
    _run(*into, *_only_for(processor))
    if source:
        # Asked for its name, it looks for libsystemd: any machine's will do, and there is one in the userland.
        headers = userland / "usr/lib" / processor.triplet / "pkgconfig"
        listed.write_text("\n".join(source))
        _run(*into, "--no-binary=:all:", environment={"PKG_CONFIG_PATH": str(headers)})
        _run("download", "--dest", folder, *_only_for(processor), *BUILDERS)


def for_tests(processor: Processor) -> Path:
    """A folder for PYTHONPATH with what the tests import; soxr too, where the processor has it."""
    tests = [one for one in processor.requirements("test") if one.name not in ON_X86_ONLY]
    node = {one.name for one in processor.requirements()}
    required = [str(one).partition(";")[0].strip() for one in tests if one.name not in node]
    what = (processor.name, required, "1")
    return kept(f"tests-{processor.name}", what, lambda folder: _install_tests(processor, required, folder))


def _install_tests(processor: Processor, required: Sequence[str], folder: Path) -> None:
    into: tuple[str | Path, ...] = ("install", "--no-compile", "--target", folder, *_only_for(processor))
    _run(*into, *required)
    if processor.has_litert:
        _run(*into, "--no-deps", *(str(one) for one in processor.requirements(*EXTRAS) if one.name == "soxr"))
        return
    # tests/support/networks.py writes networks by LiteRT's schema, a file of Python's that needs nothing of LiteRT.
    with zipfile.ZipFile(_any_litert(folder)) as wheel, wheel.open(SCHEMA) as schema:
        (folder / Path(SCHEMA).name).write_bytes(schema.read())
    _run(*into, "--no-deps", "flatbuffers")


def _any_litert(folder: Path) -> Path:
    downloads = folder / ".litert"
    _run("download", "--no-deps", "--only-binary=:all:", "--dest", downloads, "ai-edge-litert>=2.0.2")
    return next(downloads.glob("*.whl"))


def tflite_runtime(processor: Processor) -> Path:
    """A folder for PYTHONPATH with the runtime of SONYC's nodes, for a processor that otherwise has LiteRT."""
    required = ("tflite-runtime==2.14.0", "numpy<2")
    into: tuple[str | Path, ...] = ("install", "--no-compile", *_only_for(processor))
    return kept(f"tflite-runtime-{processor.name}", required, lambda folder: _run(*into, "--target", folder, *required))


def ours(folder: Path) -> Path:
    """The wheel of this check-out."""
    shutil.rmtree(folder, ignore_errors=True)
    _run("wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    return next(folder.glob("sonyc_ml-*.whl"))


def _only_for(processor: Processor) -> list[str]:
    platforms = [argument for tag in processor.platforms() for argument in ("--platform", tag)]
    return ["--only-binary=:all:", *PYTHON, *platforms]


def _run(*arguments: str | Path, environment: dict[str, str] | None = None) -> None:
    command = [*PIP, *map(str, arguments)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "error" in line]
        raise SkippedError(f"pip {arguments[0]}: {errors[-1] if errors else done.stderr.strip()}")
