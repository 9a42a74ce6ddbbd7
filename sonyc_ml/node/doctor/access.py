"""Who asks, what that user may do, and how a command names users and files."""

from __future__ import annotations

import os
import pwd
import shlex
from contextlib import suppress
from pathlib import Path


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    for path in (folder, *folder.absolute().parents):
        with suppress(OSError):  # one that may not be looked into
            if path.exists():
                return path
    return Path("/")


def may(folder: Path, mode: int) -> bool:
    """Whether this user may do something with a folder; `mode` as for :func:`os.access`."""
    return os.access(folder, mode, effective_ids=True)


def name_of(uid: int | None = None) -> str:
    """A user as a sentence names it."""
    name = account(uid)
    return f"user {name}" if name.isdigit() else name


def account(uid: int | None = None) -> str:
    """A user as commands take it."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def sudo_user(uid: int) -> str:
    """A user as sudo takes it: a number has a sign before it."""
    name = account(uid)
    return f"'#{name}'" if name.isdigit() else name


def quoted(path: Path) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))
