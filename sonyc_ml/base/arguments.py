"""Arguments of the command line: flags in both spellings, and what was meant by a mistyped one."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False  # typing takes longer to import than all that is needed here
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any


class Parser(argparse.ArgumentParser):
    """A parser whose flags are written with hyphens, and read with underscores too: ``--hop-size``, ``--hop_size``.

    A flag or a choice that it does not know is refused before anything else is, with the one that may be meant.

    Parameters
    ----------
    takes_others : bool
        Whether flags that it does not know are the caller's to read, from `parse_known_args`.
    """

    def __init__(self, *, takes_others: bool = False, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False} | settings)
        self._takes_others = takes_others

    @property
    def flags(self) -> frozenset[str]:
        """Every flag that it knows, as it is written in its help."""
        return frozenset(self._option_string_actions)

    @property
    def commands(self) -> dict[str, Parser]:
        """The parsers of its commands by their names; none where it has no commands."""
        choices = (action.choices for action in self._actions if isinstance(action.choices, dict))
        return {name: parser for some in choices for name, parser in some.items()}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, after the flags have got their hyphens."""
        if args is None:
            import sys  # noqa: PLC0415

            args = sys.argv[1:]
        args = self._hyphenated(args)
        if not self._takes_others:
            for argument in self._own(args):
                if self._is_unknown(argument):
                    self.error(self.unknown(argument))
        return super().parse_known_args(args, namespace)

    def unknown(self, flag: str) -> str:
        """What is said of a flag that is not one of these."""
        name = flag.partition("=")[0]
        return f"there is no flag {name}{meant(name.replace('_', '-'), self._option_string_actions)}"

    def _hyphenated(self, arguments: Sequence[str]) -> list[str]:
        """The arguments with those flags that are known only with hyphens written so; values stay as they are."""
        written = list(arguments)
        end = written.index("--") if "--" in written else len(written)
        for number, argument in enumerate(written[:end]):
            name, equals, value = argument.partition("=")
            hyphens = name.replace("_", "-")
            if name not in self._option_string_actions and hyphens in self._option_string_actions:
                written[number] = f"{hyphens}{equals}{value}"
        return written

    def _own(self, arguments: list[str]) -> list[str]:
        """The arguments that are this parser's: those before ``--``, and before the name of a command of its own."""
        end = arguments.index("--") if "--" in arguments else len(arguments)
        if self._subparsers is not None:
            end = next((n for n, argument in enumerate(arguments[:end]) if not argument.startswith("-")), end)
        return arguments[:end]

    def _is_unknown(self, argument: str) -> bool:
        """Whether it can only be meant as a flag, and is none; a value may be a number below 0, or hold spaces."""
        name = argument.partition("=")[0]
        if name in self._option_string_actions or " " in argument:
            return False
        if argument.startswith("--"):
            return len(argument) > 2
        return argument.startswith("-") and argument[1:2].isalpha() and argument[:2] not in self._option_string_actions

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            known = meant(str(value), choices) or f"; known are {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"there is no {value!r}{known}")


def meant(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` where a known name is close to this one, else nothing."""
    import difflib  # noqa: PLC0415  only for mistakes

    names = list(known)
    begun = [other for other in names if len(name) > 3 and other.startswith(name)]
    close = begun or difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
