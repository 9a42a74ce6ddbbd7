"""Checks of the folders that a configuration names, and of their disks."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sonyc_ml.base.folders import file_system_of, is_remote
from sonyc_ml.base.human import size
from sonyc_ml.node.config import Config
from sonyc_ml.node.doctor.access import account, existing, may, name_of, quoted
from sonyc_ml.node.doctor.machine import BAD, OK, SKIPPED, WARN, Finding

LOW_DISK, FULL_DISK = 0.10, 0.02  # share that is free; status too wants attention at the second
PROBE = b"\0" * 4096
IN_MEMORY = ("tmpfs", "ramfs")


def spool(config: Config) -> Finding:
    """Whether recordings can be found and read."""
    folder = config.spool.folder
    try:
        with os.scandir(folder) as entries:
            n_entries = sum(1 for _ in entries)
    except FileNotFoundError:
        remedy = f"make it, or mount its disk: sudo install -d {quoted(folder)}; the daemon waits for it"
        return Finding("spool", BAD, f"{folder} is not there", remedy)
    except OSError as error:
        why = f"{folder} cannot be listed by {name_of()}: {error.strerror}"
        return Finding(
            "spool", BAD, why, f"sudo setfacl -m u:{account()}:rx {quoted(folder)}, and so for the folders above"
        )
    if not may(folder, os.R_OK | os.X_OK):
        why = f"{folder} can be listed by {name_of()}, but its files cannot be reached"
        return Finding("spool", BAD, why, f"sudo setfacl -m u:{account()}:rx {quoted(folder)}")
    return Finding("spool", OK, f"{folder}, {n_entries:,} in it, readable by {name_of()}")


def retention(config: Config) -> Finding:
    """Whether recordings that are done can be removed, where they should be."""
    settings, folder = config.retention, config.spool.folder
    if settings.policy == "keep":
        return Finding("retention", OK, "recordings are kept (retention.policy)")
    if existing(folder) != folder:
        return Finding("retention", SKIPPED, f"{folder} is not there")
    if not may(folder, os.W_OK | os.X_OK):
        text = f"{folder} cannot be written to by {name_of()}: recordings in it cannot be removed"
        return Finding("retention", BAD, text, f"sudo setfacl -m u:{account()}:rwx {quoted(folder)}")
    if settings.folder is None:
        return Finding("retention", OK, f"recordings can be deleted from {folder}")
    moved = writable("retention", settings.folder)
    if moved.verdict != OK:
        return moved
    is_same = existing(settings.folder).stat().st_dev == folder.stat().st_dev
    how = "" if is_same else ", by copying: it is on another disk"
    return Finding("retention", OK, f"recordings can be moved to {settings.folder}{how}")


def writable(check: str, folder: Path) -> Finding:
    """Whether a folder can be written to, by writing; or be made, where it is not there."""
    nearest = existing(folder)
    if nearest != folder and not may(nearest, os.X_OK):
        text = f"{folder} cannot be reached by {name_of()}: {nearest} may not be looked into"
        return Finding(
            check, BAD, text, f"ask as the daemon's user, or: sudo setfacl -m u:{account()}:rwx {quoted(nearest)}"
        )
    if nearest != folder:
        if may(nearest, os.W_OK):
            return Finding(check, OK, f"{folder} is not there yet, and {name_of()} can make it")
        text = f"{folder} is not there, and {name_of()} cannot make it in {nearest}"
        return Finding(check, BAD, text, f"sudo install -d -o {account()} {quoted(folder)}")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        text = f"{folder} cannot be written to by {name_of()}: {error.strerror}"
        return Finding(check, BAD, text, _writing_remedy(error, folder))
    return Finding(check, OK, f"{folder}, writable by {name_of()}")


def _writing_remedy(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room: see disk"
    if error.errno == errno.EROFS:
        return f"sudo mount -o remount,rw {quoted(folder)}, and sudo dmesg shows why it became read-only"
    # Who asks may be somebody else, and must not take the folder away from the daemon.
    return f"ask as the daemon's user; if that is {name_of()}: sudo chown {account()} {quoted(folder)}"


def disks(config: Config) -> dict[str, Path]:
    """Folders by what they are for; one of each disk."""
    folders = {"spool": config.spool.folder, "output": config.output.folder, "state": config.state_folder}
    names: dict[int, list[str]] = {}
    for name, folder in folders.items():
        with suppress(OSError):  # it has gone just now
            names.setdefault(existing(folder).stat().st_dev, []).append(name)
    return {", ".join(found): folders[found[0]] for found in names.values()}


def disk(name: str, folder: Path) -> Finding:
    """Whether a folder's disk has room, for data and for names of files."""
    nearest = existing(folder)
    status = os.statvfs(nearest)
    free, total = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    share = free / total if total else 1.0
    text = f"{name}: {size(free)} of {size(total)} free ({share:.0%}), {folder}"
    remedy = (
        f'remove what is not needed (du -xh {quoted(nearest)} | sort -h | tail), or set retention.policy = "delete"'
    )
    if status.f_files and status.f_favail / status.f_files < FULL_DISK:
        return Finding("disk", BAD, f"{text}; only {status.f_favail:,} more files can be made", remedy)
    if share < FULL_DISK:
        return Finding("disk", BAD, f"{text}: full", remedy)
    return Finding("disk", WARN, f"{text}: nearly full", remedy) if share < LOW_DISK else Finding("disk", OK, text)


def file_systems(config: Config, proc: Path = Path("/proc")) -> Finding:
    """Whether the journal and the outputs lie on a disk of this machine, one that stays."""
    mountinfo = proc / "self" / "mountinfo"
    folders = {"journal": config.state_folder, "outputs": config.output.folder, "spool": config.spool.folder}
    kinds = {name: file_system_of(existing(folder), mountinfo) for name, folder in folders.items()}
    if not any(kinds.values()):
        return Finding("file systems", SKIPPED, f"{mountinfo} does not say")
    text = ", ".join(f"{name} on {kind or 'an unknown one'}" for name, kind in kinds.items())
    if is_remote(kinds["journal"]):
        remedy = 'set state.folder = "/var/lib/sonyc-ml" (on a disk of this machine) in the configuration'
        return Finding("file systems", WARN, f"{text}: SQLite cannot rely on locks of a network disk", remedy)
    lost = [name for name in ("journal", "outputs") if kinds[name] in IN_MEMORY]
    if lost:
        remedy = f"put {' and '.join(lost)} on a disk: output.folder and state.folder"
        return Finding("file systems", WARN, f"{text}: gone when the machine is started again", remedy)
    return Finding("file systems", OK, text)


def output_folders(config: Config) -> Sequence[Path]:
    """Where outputs go, once each; those of single bundles are made when they are needed."""
    return list(dict.fromkeys((config.output.folder, *config.output_folders)))
