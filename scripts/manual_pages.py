"""Manual pages and completions: what shells and ``man`` know of the program, made from its parser."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import shtab

from sonyc_ml.authoring.export import add_export
from sonyc_ml.base.arguments import Parser
from sonyc_ml.cli import COMMANDS, DESCRIPTION, FEATURES

SHARE = Path(__file__).resolve().parent.parent / "share"
# Where shells look below /usr/share and below the share/ of a virtual environment's prefix.
COMPLETIONS = {
    "bash": "bash-completion/completions/sonyc-ml",
    "zsh": "zsh/site-functions/_sonyc-ml",
    "fish": "fish/vendor_completions.d/sonyc-ml.fish",
}
FOLDERS, FILES = re.compile(r"^(DIR|FOLDER)$"), re.compile(r"\b(FILE|RECORDING|OUTPUT\w*|DIR|INPUT)\b(?!=)|NAME\.")
SEE_ALSO = ".SH SEE ALSO\n.BR sonyc\\-ml (1)\n"


def main() -> int:
    """Write every file, or compare; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/manual", description="Write manual pages and completions.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where a file is not what it would be")
    check: bool = parser.parse_args().check
    changed = 0
    for name, text in files().items():
        path = SHARE / name
        is_same = path.exists() and path.read_text() == text
        changed += not is_same
        if not (check or is_same):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        print(f"share/{name}: {'unchanged' if is_same else 'differs' if check else 'written'}")
    return int(check and changed > 0)


def files() -> dict[str, str]:
    """The text of every file, by its name below share/."""
    os.environ["COLUMNS"] = "75"  # a manual page is 80 wide, and indented
    found = {name: completion(shell) for shell, name in COMPLETIONS.items()}
    return found | {f"man/man1/{name}.1": text for name, text in pages()}


def program() -> Parser:
    """The parser with all of its commands, which the program itself never makes at once."""
    parser = Parser(prog="sonyc-ml", description=DESCRIPTION)
    parser.add_argument("-V", "--version", action="version", version="", help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module, texts in COMMANDS.items():
        import_module(f"sonyc_ml.cli.{module}").add_commands(commands, texts)
    for name, text in FEATURES.items():
        actions = commands.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")
        add_export(actions)
    return parser


def completion(shell: str) -> str:
    """What completes commands, flags, choices and files in a shell."""
    parser = program()
    for one in (parser, *every_command(parser)):
        for action in actions_of(one):
            complete_files(action)
    text: str = shtab.complete(parser, shell=shell)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def complete_files(action: argparse.Action) -> None:
    """Say that an argument is a file or a folder, where its name in the help says so."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if FOLDERS.search(metavar):
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # where shtab looks for it
    elif FILES.search(metavar) and action.choices is None:
        action.complete = shtab.FILE  # type: ignore[attr-defined]


def actions_of(parser: Parser) -> list[argparse.Action]:
    """The flags and arguments of a parser; argparse has no public name for them."""
    return list(vars(parser)["_actions"])


def every_command(parser: Parser) -> Iterator[Parser]:
    """Each command of a parser, and each action of one."""
    for command in parser.commands.values():
        yield command
        yield from every_command(command)


def pages() -> Iterator[tuple[str, str]]:
    """Name and text of each manual page: one of the program, and one for each command with all of its actions."""
    parser = program()
    texts = {name: text for texts in (*COMMANDS.values(), FEATURES) for name, text in texts.items()}
    listed = "".join(f".TP\n.BR {roff(f'sonyc-ml-{name}')} (1)\n{roff(text)}\n" for name, text in texts.items())
    options = groups_of(parser)
    yield "sonyc-ml", f"{heading('sonyc-ml', DESCRIPTION)}.SH COMMANDS\n{listed}.SH OPTIONS\n{options}"
    for name, command in parser.commands.items():
        yield f"sonyc-ml-{name}", heading(f"sonyc-ml-{name}", texts[name]) + command_page(command)


def heading(name: str, text: str) -> str:
    """How a page begins; without a date, so that it changes only where the program does."""
    top = f'.\\" Made from the parser by scripts/manual.\n.TH {roff(name.upper())} 1 "" sonyc\\-ml "User commands"\n'
    return f"{top}.SH NAME\n{roff(name)} \\- {roff(text.rstrip('.'))}\n"


def command_page(command: Parser) -> str:
    """The sections of a command's page; where it has actions, each has one of its own."""
    actions = list(command.commands.values())
    parts = [
        f".SH SYNOPSIS\n{as_it_is(usage_of(command))}",
        f".SH DESCRIPTION\n{roff(command.description or '')}\n",
        f".SH OPTIONS\n{groups_of(command)}",
    ]
    for action in actions:
        name = roff(action.prog.removeprefix("sonyc-ml ").upper())
        parts.append(f'.SH "{name}"\n{roff(action.description or "")}\n.PP\n{as_it_is(usage_of(action))}')
        parts.append(groups_of(action) + (f".SS notes\n{notes}" if (notes := notes_of(action)) else ""))
    return "".join([*parts, f".SH NOTES\n{notes}" if (notes := notes_of(command)) else "", SEE_ALSO])


def usage_of(parser: Parser) -> str:
    """How it is called, on several lines."""
    return parser.format_usage().removeprefix("usage: ").rstrip()


def notes_of(parser: Parser) -> str:
    """Its examples, and what else its help ends with, line by line."""
    return as_it_is(parser.epilog) if parser.epilog else ""


def groups_of(parser: Parser) -> str:
    """Every argument and flag with its help, group by group."""
    parts = []
    for group in vars(parser)["_action_groups"]:
        shown = [one for one in vars(group)["_group_actions"] if one.help is not argparse.SUPPRESS]
        if shown and not parser.commands.keys() & set(getattr(shown[0], "choices", None) or ()):
            parts.append(f'.SS "{roff(group.title)}"\n{"".join(map(entry, shown))}')
    return "".join(parts)


def entry(action: argparse.Action) -> str:
    """One argument or flag, as a paragraph with a tag."""
    values = (
        "" if action.nargs == 0 else str(action.metavar or "") or "{" + ",".join(map(str, action.choices or ())) + "}"
    )
    names = ", ".join(f"\\fB{roff(name)}\\fR" for name in action.option_strings)
    value = f"\\fI{roff(values)}\\fR" if values.strip("{}") else ""
    return f".TP\n{' '.join(filter(None, (names, value)))}\n{roff((action.help or '').replace('%%', '%'))}\n"


def as_it_is(text: str) -> str:
    """Text whose lines stay as they are."""
    return f".nf\n{roff(text)}\n.fi\n"


def roff(text: str) -> str:
    """Text as troff reads it: no line is taken for a request, and a hyphen is the one that is typed."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("\n\n", "\n.sp\n")
    return re.sub(r"^(['.])(?!sp$)", r"\\&\1", escaped, flags=re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main())
