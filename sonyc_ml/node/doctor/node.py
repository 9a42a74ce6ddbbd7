"""Checks of the daemon's surroundings: its user, inotify, journal, process, service."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import zoneinfo
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

from sonyc_ml.base.folders import file_system_of, is_remote
from sonyc_ml.base.human import count
from sonyc_ml.base.lock import holder
from sonyc_ml.base.sqlite import VersionError
from sonyc_ml.errors import JournalDamagedError, StoreError
from sonyc_ml.node.config import Config
from sonyc_ml.node.doctor.access import existing, may, name_of, sudo_user
from sonyc_ml.node.doctor.machine import BAD, OK, SKIPPED, WARN, Finding
from sonyc_ml.node.journal.file import FILE_NAME, OTHER_VERSION, connect_to_read, store_errors
from sonyc_ml.node.telemetry.textfile import HOW_SERVED, left_to_serve

MIN_QUEUED_EVENTS = 4096  # a recording makes about four
ENOUGH = {"max_user_watches": 524_288, "max_user_instances": 1024}  # for what else this user runs, too
OF_MANY = frozenset({"raspberrypi", "localhost", "debian", "ubuntu", "dietpi", "armbian", "node"})  # hosts' first names
N_OBSERVERS = 2  # inotify instances of a daemon, each with a watch for every folder
MAX_FOLDERS = 100_000  # that are counted
UNIT = "sonyc-ml.service"
ENABLED = ("enabled", "enabled-runtime", "static", "generated", "linked")
CAP_SYS_NICE = 1 << 23


def user(config: Config, proc: Path = Path("/proc")) -> Finding:
    """Whether what this user may do tells what the daemon may."""
    pid = holder(config.state_folder)
    # Without a daemon, its folder shows whose it is.
    known = proc / str(pid) if pid else config.state_folder
    try:
        uid = known.stat().st_uid
    except PermissionError:  # it is kept from others by whoever owns what is above it
        uid = existing(known).stat().st_uid
    except OSError:
        return Finding("user", OK, f"this runs as {name_of()}; nothing here says whose the daemon is")
    if uid == os.geteuid():
        return Finding("user", OK, f"{name_of()}, as the daemon")
    text = f"this runs as {name_of()}, and the daemon as {name_of(uid)}: it may not be able to do what {name_of()} can"
    return Finding("user", WARN, text, f"ask again as that user: sudo -u {sudo_user(uid)} sonyc-ml doctor")


def inotify(config: Config, proc: Path = Path("/proc")) -> Finding:
    """Whether the kernel tells of new recordings, and has room for as many watches as that takes."""
    folder, wanted = config.spool.folder, config.spool.discovery
    kind = file_system_of(existing(folder), proc / "self" / "mountinfo")
    if wanted == "polling" or (wanted == "auto" and is_remote(kind)):
        why = "spool.discovery" if wanted == "polling" else f"{kind}: the kernel does not see what other machines write"
        return Finding("inotify", OK, f"not used ({why}); {folder} is scanned every {config.spool.poll_s:g} s")
    if is_remote(kind):
        text = f"{folder} is on {kind}, and the kernel says nothing of what other machines write there"
        return Finding("inotify", WARN, text, 'set spool.discovery = "auto" in the configuration')
    why = refusal(folder)
    if why:
        text = f"{folder} cannot be watched and is scanned every {config.spool.poll_s:g} s: {why}"
        needed = [limit for limit in ENOUGH if limit in why]
        return Finding("inotify", WARN, text, _sysctl(needed[0], ENOUGH[needed[0]]) if needed else "see spool, above")
    return _limits(config, proc / "sys" / "fs" / "inotify")


def refusal(folder: Path) -> str:
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
            return Finding("inotify", SKIPPED, f"{folder / name} does not say")
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
        with store_errors(path), closing(connect_to_read(path)) as connection:
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            n = connection.execute("SELECT count(*) FROM recordings").fetchone()[0]
    except JournalDamagedError as error:
        verdict = str(error)
    except StoreError as error:
        if isinstance(error.__cause__, VersionError):
            return Finding("journal", BAD, f"{path}: {error.__cause__}", OTHER_VERSION)
        return Finding("journal", WARN, str(error), "ask as root: sudo sonyc-ml doctor")
    else:
        if verdict == "ok":
            return Finding("journal", OK, f"{path} is sound, {count(n)}")
    remedy = "sudo systemctl restart sonyc-ml: the daemon makes it again from the folder and the outputs when it starts"
    return Finding("journal", BAD, verdict if str(path) in verdict else f"{path} is damaged: {verdict}", remedy)


def daemon(config: Config) -> Finding:
    """Whether a daemon keeps this journal."""
    pid = holder(config.state_folder)
    if pid is not None:
        return Finding("daemon", OK, f"runs, process {pid}")
    if not may(existing(config.state_folder), os.X_OK):
        return Finding("daemon", SKIPPED, f"{name_of()} cannot look into {config.state_folder}")
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
        remedy = f"sudo journalctl -u {UNIT} -n 50 shows why; then: sudo systemctl start {UNIT}"
        return Finding("service", BAD, text, remedy)
    if active == "inactive" or enabled not in ENABLED:
        return Finding("service", WARN, text, f"sudo systemctl enable --now {UNIT}")
    return Finding("service", OK, text)


def _unit_states() -> dict[str, str]:
    command = ["systemctl", "show", UNIT, "--property=LoadState,ActiveState,UnitFileState"]
    text = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout  # noqa: S603
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def metrics(config: Config) -> Finding:
    """Whether somebody tells the metrics that the configuration asks for."""
    if text := left_to_serve(config.metrics):
        return Finding("metrics", WARN, text, f"{HOW_SERVED}; then remove the keys")
    return Finding("metrics", OK, f"the daemon writes {config.metrics.textfile}")


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
        text = f"{name_of()} may not take {wanted} (process.nice)"
        return Finding("nice", WARN, text, "set process.nice = 0, and Nice= in the unit: sudo systemctl edit sonyc-ml")
    return Finding("nice", OK, f"{wanted} (process.nice)")


def name(config: Config) -> Finding:
    """What the node is called, and whether another one may be called so too."""
    node = config.node
    place = "" if node.latitude is None else f", at {node.latitude}, {node.longitude}"
    if node.name in OF_MANY:
        text = f"{node.name}, as many hosts are: nodes of one name are one node in an archive and to a broker"
        return Finding("node", WARN, text, 'give it a name of its own: [node] name = "street-12" in the configuration')
    return Finding("node", OK, f"{node.name}{place}")


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
