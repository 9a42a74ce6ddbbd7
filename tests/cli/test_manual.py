"""What the wheel brings for shells and ``man``: current, well-formed, and of use in real shells."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import manual_pages
from tests.conftest import PATIENCE_S, ROOT

SHARE = ROOT / "share"
PAGES = sorted(SHARE.glob("man/man1/*.1"))
# What is typed before the tabulator, and the arguments that the program gets.
TYPED = {
    "explai": ["explain"],
    "bundle veri": ["bundle", "verify"],
    "watch --extensi": ["watch", "--extensions"],
    "embed --format cs": ["embed", "--format", "csv"],
    "info netw": ["info", "network.tflite"],
}
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {share}/bash-completion/completions/sonyc-ml"),
    "zsh": (["zsh", "-f", "-i"], "fpath=({share}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D"),
}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse lays out its usage differently in each Python")
def test_the_files_are_what_the_parser_says() -> None:
    """After a change to a flag or a help text, `scripts/manual` writes them again."""
    old = {name: text for name, text in manual_pages.files().items() if (SHARE / name).read_text() != text}
    assert not old, f"run scripts/manual: {', '.join(old)} differ"
    there = {path.relative_to(SHARE).as_posix() for path in SHARE.rglob("*") if path.is_file()}
    assert there == {*manual_pages.files()}


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed here")
def test_manual_pages_are_well_formed() -> None:
    """mandoc finds nothing to warn of, but that a page that changes only with the program has no date."""
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *PAGES], check=False, capture_output=True, text=True)
    said = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert said == []
    assert len(PAGES) > 20


def test_a_manual_page_is_read_by_man() -> None:
    """man shows name, flags and examples of a command."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed here")
    command = ["man", "--warnings", "-E", "utf-8", "-l", str(SHARE / "man/man1/sonyc-ml-embed.1")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"MANWIDTH": "80"})
    assert done.stderr == ""
    for text in ("sonyc-ml-embed - embed recordings", "--hop-size SECONDS", "sonyc-ml embed ", "SEE ALSO"):
        assert text in done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with one file, and a program that writes down its arguments."""
    (tmp_path / "network.tflite").touch()
    program = tmp_path / "bin" / "sonyc-ml"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncd {tmp_path}\nprintf "%s\\n" "$@" >arguments.part\nmv arguments.part arguments\n')
    program.chmod(0o755)
    return tmp_path


class Terminal:
    """An interactive shell at a terminal of its own."""

    def __init__(self, shell: str, folder: Path) -> None:
        command, prepare = SHELLS[shell]
        self._end, inside = pty.openpty()
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        environment = {"PATH": path, "HOME": str(folder), "TERM": "dumb", "PS1": "> ", "LANG": "C.UTF-8"}
        self.shell = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
        )
        os.close(inside)
        self._said = b""
        self.type(f"{prepare.format(share=SHARE)}; echo rea''dy\n")
        self.wait(lambda: b"ready" in self._said)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._end, text.encode())

    def wait(self, holds: Callable[[], bool]) -> None:
        """Read what the shell shows until something holds."""
        end_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < end_s, self._said
            if select.select([self._end], [], [], 0.02)[0]:
                self._said += os.read(self._end, 4096)

    def close(self) -> None:
        """End the shell."""
        self.shell.kill()
        self.shell.wait()
        os.close(self._end)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tabulator_completes(shell: str, place: Path) -> None:
    """Commands, actions, flags, choices and files, in an interactive shell."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    terminal, got = Terminal(shell, place), place / "arguments"
    try:
        for typed, arguments in TYPED.items():
            terminal.type(f"sonyc-ml {typed}\t\n")
            terminal.wait(got.exists)
            assert got.read_text().split() == arguments
            got.unlink()
    finally:
        terminal.close()


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed here")
@pytest.mark.parametrize("typed", TYPED)
def test_fish_completes(typed: str, place: Path) -> None:
    """The same in fish, which is asked what it would offer."""
    program = f"source {SHARE}/fish/vendor_completions.d/sonyc-ml.fish; complete -C 'sonyc-ml {typed}'"
    environment = os.environ | dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(place))
    command = ["fish", "--no-config", "-c", program]
    done = subprocess.run(command, cwd=place, check=True, capture_output=True, text=True, env=environment)
    assert TYPED[typed][-1] in [line.partition("\t")[0] for line in done.stdout.splitlines()]
