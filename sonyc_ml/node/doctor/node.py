"""Checks of what a configuration names: folders, disks, journal, daemon, service."""

from __future__ import annotations

import errno
import os
import pwd
import queue
import re
import shlex
import subprocess
import tempfile
import zoneinfo
from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

from sonyc_ml.base.human import count, size
from sonyc_ml.base.lock import holder
from sonyc_ml.errors import JournalDamagedError, StoreError
from sonyc_ml.node.config import Config
from sonyc_ml.node.doctor.machine import BAD, OK, SKIPPED, WARN, Finding
from sonyc_ml.node.journal.file import FILE_NAME, VERSION, connect_to_read, told

LOW_DISK, FULL_DISK = 0.10, 0.02  # share that is free; status too wants attention at the second
MIN_QUEUED_EVENTS = 4096  # a recording makes about four
ENOUGH = {"max_user_watches": 524_288, "max_user_instances": 1024}  # for what else this user runs, too
N_OBSERVERS = 2  # inotify instances of a daemon, each with a watch for every folder
MAX_FOLDERS = 100_000  # that are counted
PROBE = b"\0" * 4096
UNIT = "sonyc-ml.service"
ENABLED = ("enabled", "enabled-runtime", "static", "generated", "linked")
CAP_SYS_NICE = 1 << 23
IN_MEMORY = ("tmpfs", "ramfs")


def user(config: Config, proc: Path = Path("/proc")) -> Finding:
    """Whether what this user may do tells what the daemon may."""
    pid = holder(config.state_folder)
    # Without a daemon, its folder tells whose it is.
    known = proc / str(pid) if pid else config.state_folder
    try:
        uid = known.stat().st_uid
    except PermissionError:  # it is kept from others by whoever owns what is above it
        uid = _existing(known).stat().st_uid
    except OSError:
        return Finding("user", OK, f"this runs as {_name()}; nothing here tells whose the daemon is")
    if uid == os.geteuid():
        return Finding("user", OK, f"{_name()}, as the daemon")
    text = f"this runs as {_name()}, and the daemon as {_name(uid)}: it may not be able to do what {_name()} can"
    return Finding("user", WARN, text, f"ask again as that user: sudo -u {_sudo_user(uid)} sonyc-ml doctor")


def spool(config: Config) -> Finding:
    """Whether recordings can be found and read."""
    folder = config.spool.folder
    try:
        with os.scandir(folder) as entries:
            n_entries = sum(1 for _ in entries)
    except FileNotFoundError:
        remedy = f"make it, or mount its disk: sudo install -d {_q(folder)}; the daemon waits for it"
        return Finding("spool", BAD, f"{folder} is not there", remedy)
    except OSError as error:
        why = f"{folder} cannot be listed by {_name()}: {error.strerror}"
        return Finding(
            "spool", BAD, why, f"sudo setfacl -m u:{_account()}:rx {_q(folder)}, and so for the folders above"
        )
    if not _may(folder, os.R_OK | os.X_OK):
        why = f"{folder} can be listed by {_name()}, but its files cannot be reached"
        return Finding("spool", BAD, why, f"sudo setfacl -m u:{_account()}:rx {_q(folder)}")
    return Finding("spool", OK, f"{folder}, {n_entries:,} in it, readable by {_name()}")


def retention(config: Config) -> Finding:
    """Whether recordings that are done can be removed, where they should be."""
    settings, folder = config.retention, config.spool.folder
    if settings.policy == "keep":
        return Finding("retention", OK, "recordings are kept (retention.policy)")
    if _existing(folder) != folder:
        return Finding("retention", SKIPPED, f"{folder} is not there")
    if not _may(folder, os.W_OK | os.X_OK):
        text = f"{folder} cannot be written to by {_name()}: recordings in it cannot be removed"
        return Finding("retention", BAD, text, f"sudo setfacl -m u:{_account()}:rwx {_q(folder)}")
    if settings.folder is None:
        return Finding("retention", OK, f"recordings can be deleted from {folder}")
    moved = writable("retention", settings.folder)
    if moved.verdict != OK:
        return moved
    is_same = _existing(settings.folder).stat().st_dev == folder.stat().st_dev
    how = "" if is_same else ", by copying: it is on another disk"
    return Finding("retention", OK, f"recordings can be moved to {settings.folder}{how}")


def writable(check: str, folder: Path) -> Finding:
    """Whether a folder can be written to, by writing; or be made, where it is not there."""
    nearest = _existing(folder)
    if nearest != folder and not _may(nearest, os.X_OK):
        text = f"{folder} cannot be reached by {_name()}: {nearest} may not be looked into"
        return Finding(
            check, BAD, text, f"ask as the daemon's user, or: sudo setfacl -m u:{_account()}:rwx {_q(nearest)}"
        )
    if nearest != folder:
        if _may(nearest, os.W_OK):
            return Finding(check, OK, f"{folder} is not there yet, and {_name()} can make it")
        text = f"{folder} is not there, and {_name()} cannot make it in {nearest}"
        return Finding(check, BAD, text, f"sudo install -d -o {_account()} {_q(folder)}")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        text = f"{folder} cannot be written to by {_name()}: {error.strerror}"
        return Finding(check, BAD, text, _writing_remedy(error, folder))
    return Finding(check, OK, f"{folder}, writable by {_name()}")


def _writing_remedy(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room: see disk"
    if error.errno == errno.EROFS:
        return f"sudo mount -o remount,rw {_q(folder)}, and sudo dmesg tells why it became read-only"
    # Who asks may be somebody else, and must not take the folder away from the daemon.
    return f"ask as the daemon's user; if that is {_name()}: sudo chown {_account()} {_q(folder)}"


def disks(config: Config) -> dict[str, Path]:
    """Folders by what they are for; one of each disk."""
    folders = {"spool": config.spool.folder, "output": config.output.folder, "state": config.state_folder}
    names: dict[int, list[str]] = {}
    for name, folder in folders.items():
        with suppress(OSError):  # it has gone just now
            names.setdefault(_existing(folder).stat().st_dev, []).append(name)
    return {", ".join(found): folders[found[0]] for found in names.values()}


def disk(name: str, folder: Path) -> Finding:
    """Whether a folder's disk has room, for data and for names of files."""
    nearest = _existing(folder)
    status = os.statvfs(nearest)
    free, total = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    share = free / total if total else 1.0
    text = f"{name}: {size(free)} of {size(total)} free ({share:.0%}), {folder}"
    remedy = f'remove what is not needed (du -xh {_q(nearest)} | sort -h | tail), or set retention.policy = "delete"'
    if status.f_files and status.f_favail / status.f_files < FULL_DISK:
        return Finding("disk", BAD, f"{text}; only {status.f_favail:,} more files can be made", remedy)
    if share < FULL_DISK:
        return Finding("disk", BAD, f"{text}: full", remedy)
    return Finding("disk", WARN, f"{text}: nearly full", remedy) if share < LOW_DISK else Finding("disk", OK, text)


def file_systems(config: Config, proc: Path = Path("/proc")) -> Finding:
    """Whether the journal and the outputs lie on a disk of this machine, one that stays."""
    mountinfo = proc / "self" / "mountinfo"
    folders = {"journal": config.state_folder, "outputs": config.output.folder, "spool": config.spool.folder}
    kinds = {name: _kind(_existing(folder), mountinfo) for name, folder in folders.items()}
    if not any(kinds.values()):
        return Finding("file systems", SKIPPED, f"{mountinfo} does not tell")
    text = ", ".join(f"{name} on {kind or 'an unknown one'}" for name, kind in kinds.items())
    if _is_remote(kinds["journal"]):
        remedy = 'set state.folder = "/var/lib/sonyc-ml" (on a disk of this machine) in the configuration'
        return Finding("file systems", WARN, f"{text}: SQLite cannot rely on locks of a network disk", remedy)
    lost = [name for name in ("journal", "outputs") if kinds[name] in IN_MEMORY]
    if lost:
        remedy = f"put {' and '.join(lost)} on a disk: output.folder and state.folder"
        return Finding("file systems", WARN, f"{text}: gone when the machine is started again", remedy)
    return Finding("file systems", OK, text)


def inotify(config: Config, proc: Path = Path("/proc")) -> Finding:
    """Whether the kernel tells of new recordings, and has room for as many watches as that takes."""
    folder, wanted = config.spool.folder, config.spool.discovery
    kind = _kind(_existing(folder), proc / "self" / "mountinfo")
    if wanted == "polling" or (wanted == "auto" and _is_remote(kind)):
        why = "spool.discovery" if wanted == "polling" else f"{kind}: the kernel does not see what other machines write"
        return Finding("inotify", OK, f"not used ({why}); {folder} is scanned every {config.spool.poll_s:g} s")
    if _is_remote(kind):
        text = f"{folder} is on {kind}, and the kernel tells nothing of what other machines write there"
        return Finding("inotify", WARN, text, 'set spool.discovery = "auto" in the configuration')
    refusal = _refusal(folder)
    if refusal:
        text = f"{folder} cannot be watched and is scanned every {config.spool.poll_s:g} s: {refusal}"
        needed = [limit for limit in ENOUGH if limit in refusal]
        return Finding("inotify", WARN, text, _sysctl(needed[0], ENOUGH[needed[0]]) if needed else "see spool, above")
    return _limits(config, proc / "sys" / "fs" / "inotify")


def _refusal(folder: Path) -> str:
    """Why the kernel does not let a folder be watched; empty where it does, or the folder is not there."""
    from sonyc_ml.node.spool.inotify import Watch, reason  # noqa: PLC0415  needs watchdog, which may not be there

    if not folder.is_dir():
        return ""
    try:
        Watch(folder.resolve(), queue.SimpleQueue(), recursive=False).close()
    except OSError as error:
        return reason(error)
    return ""


def _limits(config: Config, folder: Path) -> Finding:
    limits = {}
    for name in ("max_user_watches", "max_user_instances", "max_queued_events"):
        try:
            limits[name] = int((folder / name).read_text())
        except (OSError, ValueError):
            return Finding("inotify", SKIPPED, f"{folder / name} does not tell")
    n_folders = 1
    if config.spool.recursive:
        n_folders = max(1, sum(1 for _ in islice(os.walk(config.spool.folder), MAX_FOLDERS)))
    needs = {
        "max_user_watches": N_OBSERVERS * n_folders,
        "max_user_instances": N_OBSERVERS,
        "max_queued_events": MIN_QUEUED_EVENTS,
    }
    for name, least in needs.items():
        if limits[name] < least:
            text = f"fs.inotify.{name} is {limits[name]:,}, and {least:,} are needed: recordings are found late"
            return Finding("inotify", WARN, text, _sysctl(name, 2 * least))
    n_watches, most = needs["max_user_watches"], limits["max_user_watches"]
    text = f"{n_watches:,} of {most:,} watches, {N_OBSERVERS} of {limits['max_user_instances']} instances needed"
    return Finding("inotify", OK, f"{text}, {limits['max_queued_events']:,} events can wait")


def _sysctl(name: str, value: int) -> str:
    file = "/etc/sysctl.d/60-sonyc-ml.conf"
    return f"echo fs.inotify.{name}={value} | sudo tee -a {file} && sudo sysctl -p {file}"


def journal(config: Config) -> Finding:
    """Whether the journal can be read and is whole; nothing is changed."""
    path = config.state_folder / FILE_NAME
    with suppress(PermissionError):
        if not path.exists():
            return Finding("journal", OK, f"there is none at {path} yet; the daemon makes it")
    try:
        with told(path), closing(connect_to_read(path)) as connection:
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            n = connection.execute("SELECT count(*) FROM recordings").fetchone()[0]
    except JournalDamagedError as error:
        verdict = str(error)
    except StoreError as error:
        return Finding("journal", WARN, str(error), "ask as root: sudo sonyc-ml doctor")
    else:
        if verdict == "ok" and version != VERSION:
            verdict = f"the journal {path} is of version {version}, and this is version {VERSION}"
        if verdict == "ok":
            return Finding("journal", OK, f"{path} is sound, {count(n)}")
    remedy = "sudo systemctl restart sonyc-ml: the daemon makes it again from the folder and the outputs when it starts"
    return Finding("journal", BAD, verdict if str(path) in verdict else f"{path} is damaged: {verdict}", remedy)


def daemon(config: Config) -> Finding:
    """Whether a daemon keeps this journal."""
    pid = holder(config.state_folder)
    if pid is not None:
        return Finding("daemon", OK, f"runs, process {pid}")
    if not _may(_existing(config.state_folder), os.X_OK):
        return Finding("daemon", SKIPPED, f"{_name()} cannot look into {config.state_folder}")
    return Finding("daemon", WARN, "does not run", "sudo systemctl start sonyc-ml, or: sonyc-ml watch --config FILE")


def service(runtime_folder: Path = Path("/run/systemd/system")) -> Finding:
    """Whether systemd runs the daemon, and will after the next start of the machine."""
    if not runtime_folder.is_dir():
        return Finding("service", SKIPPED, "systemd does not run here")
    try:
        states = _unit_states()
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("service", SKIPPED, f"systemctl does not answer: {error}")
    if states.get("LoadState") != "loaded":
        return Finding("service", SKIPPED, f"{UNIT} is not installed; deploy/install.sh does it")
    active, enabled = states.get("ActiveState", "unknown"), states.get("UnitFileState", "unknown")
    text = f"{UNIT} is {active} and {enabled}"
    if active == "failed":
        remedy = f"sudo journalctl -u {UNIT} -n 50 tells why; then: sudo systemctl start {UNIT}"
        return Finding("service", BAD, text, remedy)
    if active == "inactive" or enabled not in ENABLED:
        return Finding("service", WARN, text, f"sudo systemctl enable --now {UNIT}")
    return Finding("service", OK, text)


def _unit_states() -> dict[str, str]:
    command = ["systemctl", "show", UNIT, "--property=LoadState,ActiveState,UnitFileState"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout  # noqa: S603
    return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)


def nice(config: Config, proc: Path = Path("/proc")) -> Finding:
    """Whether the daemon may have the niceness that it is told to take."""
    wanted, pid = config.process.nice, holder(config.state_folder)
    if pid is not None:
        with suppress(OSError):
            return Finding("nice", OK, f"the daemon runs with {os.getpriority(os.PRIO_PROCESS, pid)}")
    match = None
    with suppress(OSError):
        match = re.search(r"^CapEff:\s+([0-9a-f]+)", (proc / "self" / "status").read_text(), re.MULTILINE)
    may = bool(match and int(match[1], 16) & CAP_SYS_NICE)
    if wanted < os.getpriority(os.PRIO_PROCESS, 0) and not may:
        text = f"{_name()} may not take {wanted} (process.nice)"
        return Finding("nice", WARN, text, "set process.nice = 0, and Nice= in the unit: sudo systemctl edit sonyc-ml")
    return Finding("nice", OK, f"{wanted} (process.nice)")


def time_zone(config: Config) -> Finding:
    """Whether start times that do not say their zone can be told."""
    name = config.recordings.time_zone
    try:
        zone = zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if name != "UTC":
            return Finding("time zone", BAD, f"{name} is not known here", "sudo apt-get install tzdata")
        zone = None
    return Finding("time zone", OK, f"{zone or name}, for start times that do not say theirs (recordings.time_zone)")


def output_folders(config: Config) -> Sequence[Path]:
    """Where outputs go, once each; those of single bundles are made when they are needed."""
    return [
        config.output.folder,
        *(path for m in config.model if (path := config.output_folder(m)) != config.output.folder),
    ]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    for path in (folder, *folder.absolute().parents):
        with suppress(OSError):  # one that may not be looked into
            if path.exists():
                return path
    return Path("/")


def _may(folder: Path, mode: int) -> bool:
    return os.access(folder, mode, effective_ids=True)


def _name(uid: int | None = None) -> str:
    """A user as a sentence names it."""
    account = _account(uid)
    return f"user {account}" if account.isdigit() else account


def _account(uid: int | None = None) -> str:
    """A user as commands take it."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _sudo_user(uid: int) -> str:
    """A user as sudo takes it: a number has a sign before it."""
    account = _account(uid)
    return f"'#{account}'" if account.isdigit() else account


def _q(path: Path) -> str:
    return shlex.quote(str(path))


def _kind(folder: Path, mountinfo: Path) -> str:
    """The file system that a folder lies on; empty where nobody tells."""
    try:
        lines = mountinfo.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real, best, kind = folder.resolve(), "", ""
    for line in lines:
        fields = line.split()
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        if real.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, fields[fields.index("-") + 1]
    return kind


def _is_remote(kind: str) -> bool:
    from sonyc_ml.node.spool.spool import LOCAL_FUSE, REMOTE_FILE_SYSTEMS  # noqa: PLC0415  needs watchdog, which may not be there

    return kind.startswith(REMOTE_FILE_SYSTEMS) and kind not in LOCAL_FUSE
