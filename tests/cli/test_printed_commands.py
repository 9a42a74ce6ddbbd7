"""Every command that the package or its documentation prints is one: its name, its action and its flags."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from sonyc_ml.base.arguments import Parser
from sonyc_ml.cli import COMMANDS
from tests.support.printed import texts_of

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*Path(ROOT, "sonyc_ml").rglob("*.py"), *Path(ROOT, "deploy").glob("*.sh")])
PAGES = sorted([*ROOT.glob("*.md"), *Path(ROOT, "docs").glob("*.md"), *Path(ROOT, "deploy").rglob("*.yml")])
# From the name to the end of the line or of what encloses it; a line that ends with a backslash goes on.
COMMAND = re.compile(r"""(?<![\w/-])sonyc-ml((?:[ ](?:\\\n)?|\\\n)[^`\n;|&)>#]*(?:\\\n[^`\n;|&)>#]*)*)""")


def commands_in(text: str) -> Iterator[list[str]]:
    """The arguments of every command in a text."""
    for match in COMMAND.finditer(text):
        line = match[1].replace("\\\n", " ").strip().rstrip(".,:")
        try:
            yield shlex.split(line)
        except ValueError:  # a quotation mark that is the sentence's
            yield line.replace('"', " ").replace("'", " ").split()


def parsers() -> dict[str, Parser]:
    """The parser of each command, and of each action of one, by name."""
    program = Parser(prog="sonyc-ml")
    commands = program.add_subparsers()
    for module, texts in COMMANDS.items():
        import_module(f"sonyc_ml.cli.{module}").add_commands(commands, texts)
    actions = {
        f"{name} {action}": found for name, one in program.commands.items() for action, found in one.commands.items()
    }
    return {**program.commands, **actions}


def mistake(arguments: list[str], known: dict[str, Parser]) -> str:
    """What is wrong with a printed command; empty where nothing is."""
    name = arguments[0] if arguments else ""
    if name not in known:
        return ""  # a sentence about the program, or `features`, which parses its own
    named = arguments[1] if len(arguments) > 1 else ""
    parser = known.get(f"{name} {named}", known[name])
    if parser is known[name] and parser.commands and re.match(r"[a-z]", named):
        return f"{name} has no action {named}"
    flags = [argument.partition("=")[0] for argument in arguments if re.match(r"--?[a-z]", argument)]
    taken = {flag.replace("_", "-") for flag in parser.flags}
    unknown = [flag for flag in flags if flag.rstrip(".,:]").replace("_", "-") not in taken]
    return f"{name} takes no {', '.join(unknown)}" if unknown else ""


def test_a_mistake_is_seen() -> None:
    """A flag that a command lost, or an action that has another name, is one."""
    known = parsers()
    (arguments,) = commands_in("run `sonyc-ml bundle trust 'a b.tflite'`; then more")
    assert arguments == ["bundle", "trust", "a b.tflite"]
    assert not mistake(arguments, known)
    for wrong in ("sonyc-ml bundle accept x.tflite", "sonyc-ml embed --modle x", "sonyc-ml retry a.wav --quarantine"):
        (arguments,) = commands_in(wrong)
        assert mistake(arguments, known), wrong


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_printed_command_exists(path: Path) -> None:
    """Its command, its action and each of its flags are known."""
    known = parsers()
    wrong = {" ".join(found): mistake(found, known) for text in texts_of(path) for found in commands_in(text)}
    assert not {command: text for command, text in wrong.items() if text}


def test_commands_are_found() -> None:
    """Neither the messages nor the pages are empty of them: the search finds what it is for."""
    known = parsers()
    for paths, least in ((SOURCES, 30), (PAGES, 60)):
        found = [found for path in paths for text in texts_of(path) for found in commands_in(text)]
        assert sum(bool(arguments) and arguments[0] in known for arguments in found) >= least
