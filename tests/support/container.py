"""A systemd of its own to test services on: a copy of this machine, booted in a container that leaves nothing."""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import pytest

from tests.conftest import ROOT

T = TypeVar("T")

NEEDED: Final = {  # program: its Debian package
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}
ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}
PREFIX: Final = "sonyc-ml-container-"
BOOT_S, STOP_S, RUN_S, PATIENCE_S, POLL_S = 60.0, 30.0, 60.0, 30.0, 0.02
CGROUPS: Final = Path("/sys/fs/cgroup")
CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids")

# Mounts and processes have namespaces that end with their first process, and that ends with ours: none can be left
# behind, not even by kill -9. /run is new there because systemd-nspawn keeps notes in it. chroot, because a link on
# this machine may be absolute.
_MOUNT: Final = """
    set -e
    mount -t tmpfs -o mode=755 "$1" /run
    mkdir /run/upper /run/work /run/root
    mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work "$1" /run/root
    chroot /run/root sh -c 'rm -rf \
        /opt/sonyc-ml /etc/sonyc-ml /var/lib/sonyc-ml /var/lib/private/sonyc-ml /var/cache/private/sonyc-ml \
        /var/cache/sonyc-ml /var/log/private/sonyc-ml /var/log/sonyc-ml /usr/local/bin/sonyc-ml* \
        /etc/systemd/system/sonyc-ml* /etc/systemd/system/*.wants/* /lib/systemd/system/timers.target.wants/* \
        /var/log/journal/*'
"""
_UNSHARE: Final = ("unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child=KILL")
_BOOT: Final = """
    name=$1 project=$2
    shift 2
    for group; do echo $$ >"$group/cgroup.procs"; done
    systemd-nspawn --quiet --directory=/run/root --machine="$name" --boot --register=no --keep-unit \
        --console=pipe --link-journal=no --private-network --bind-ro="$project" systemd.unit=basic.target
"""
# Of cgroup v1 systemd-nspawn leaves the controllers read-only; systemd looks at them anew when it starts anew.
_OPEN_CONTROLLERS: Final = """
    for folder; do
        if mountpoint -q "$folder"; then mount -o remount,bind,rw "$folder"; fi
    done
    systemctl daemon-reexec
"""


@functools.cache
def why_not() -> str:
    """Why no container can be booted here, as a clause for ``pytest.skip``; empty where one can."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    for program, package in NEEDED.items():
        if shutil.which(program, path=ENVIRONMENT["PATH"]) is None:
            return f"there is no {program} (Debian package {package})"
    if not any(Path(path).exists() for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")):
        return "systemd is not installed"
    return _why_no_groups() or _why_no_mounts()


def _why_no_groups() -> str:
    """Why no control group can be made, as a clause; empty where one can."""
    folders = own_groups()
    can_write = folders and all(os.access(folder, os.W_OK) for folder in folders)
    return "" if can_write else f"no control group can be made below {CGROUPS}"


def _why_no_mounts() -> str:
    """Why no overlay of this machine can be mounted, as a clause; empty where it can."""
    command = [*_UNSHARE, "sh", "-c", _MOUNT, "sh", f"{PREFIX}probe"]
    done = subprocess.run(command, check=False, env=ENVIRONMENT, capture_output=True, text=True, timeout=RUN_S)
    return f"no overlay can be mounted here: {done.stderr.strip()}" if done.returncode else ""


def own_groups() -> list[Path]:
    """Folder of each control group that this process is in and that systemd will make groups in."""
    folders = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2, alone or beside version 1
            unified = CGROUPS / "unified"
            hierarchy = unified if unified.is_dir() else CGROUPS
        elif controllers == "name=systemd" or set(controllers.split(",")) & set(CONTROLLERS):
            hierarchy = CGROUPS / controllers.removeprefix("name=")
        else:
            continue
        folders.append(hierarchy / path.lstrip("/"))
    return [folder for folder in folders if folder.is_dir()]


def remove_old_groups() -> None:
    """Remove the empty control groups of containers whose tests were killed."""
    for parent in own_groups():
        for group in parent.glob(f"{PREFIX}*"):
            if not Path("/proc", group.name.removeprefix(PREFIX).split("-")[0]).exists():
                _remove_group(group)


def _remove_group(group: Path) -> bool:
    """Whether this control group and those in it, which may hold no process, are gone."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not group.exists()


def _descendants(number: int) -> Iterator[int]:
    """Numbers of the children of a process, of theirs, and so on."""
    children = ""
    with suppress(OSError):
        children = Path(f"/proc/{number}/task/{number}/children").read_text()
    for child in map(int, children.split()):
        yield child
        yield from _descendants(child)


def _outcome(words: list[str]) -> tuple[int, str, str]:
    """Return code, output and errors of a command; Ctrl-C ends its children, and by that the command itself.

    An nsenter that is killed leaves its child to a parent outside of the container, who may be slow to bury it, and
    systemd waits ten seconds for that at power-off.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            out, errors = process.communicate()
        finally:
            if process.poll() is None:
                for child in list(_descendants(process.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
    return process.returncode, out, errors


def processes_with_mount(name: str) -> list[int]:
    """Numbers of the processes that see a mount whose source has this name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):
            if f" {name} " in path.read_text():
                found.append(int(path.parent.name))
    return found


def wait_for(is_there: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """First true value of a function that is asked again and again."""
    end_s = time.monotonic() + patience_s
    while not (value := is_there()):
        assert time.monotonic() < end_s, f"no {what} after {patience_s:g} s"
        time.sleep(POLL_S)
    return value


class Container:
    """A copy of this machine that systemd has booted up to ``basic.target``, without network but the loopback.

    What is written inside is kept in memory and gone at the end. The project is read-only at its usual place. /tmp,
    /run and /dev inside are new and empty, and so is what an installed sonyc-ml has left on this machine. Nothing
    that this machine has enabled is started.

    Attributes
    ----------
    root : Path
        The container's file system, to read and write files in; not what it mounts itself, as /run and /tmp. It leads
        through ``/proc``: never ``resolve()`` it.
    name : str
        Name of the machine.
    """

    _n_made = 0

    def __init__(self) -> None:
        Container._n_made += 1
        self.name = f"{PREFIX}{os.getpid()}-{Container._n_made}"
        self.root = Path("/nonexistent")
        self._stack = ExitStack()
        self.leader = 0  # number of the systemd inside, as seen from here
        self._is_up = False
        # Of its own in each hierarchy: systemd takes the group it is started in for itself.
        self._groups = [parent / self.name for parent in own_groups()]

    def __enter__(self) -> Self:
        """Boot."""
        with ExitStack() as stack:
            stack.callback(self._assert_nothing_left)
            stack.callback(self._remove_groups)
            remove_old_groups()
            for group in self._groups:
                group.mkdir()
            self._console = stack.enter_context(tempfile.TemporaryFile("w+"))
            self._process = self._start()
            stack.callback(self._stop)
            self._wait_for_boot()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Power off, and leave no process, mount or control group."""
        self._stack.close()

    def run(
        self, *command: str | Path, check: bool = True, timeout_s: float = RUN_S
    ) -> subprocess.CompletedProcess[str]:
        """What a command inside wrote and returned; an error, with its output, if it failed and ``check`` is set."""
        enter = ["nsenter", "--target", str(self.leader), "--all", "--"]
        words = [*enter, "timeout", "--kill-after=5", f"{timeout_s}", *map(str, command)]
        done = subprocess.CompletedProcess(words, *_outcome(words))
        told = f"{shlex.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert not check or done.returncode == 0, told
        return done

    def systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``systemctl`` inside."""
        return self.run("systemctl", "--no-pager", *arguments, check=check)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit, as ``systemctl show`` writes it."""
        return self.systemctl("show", "--value", f"--property={name}", unit).stdout.strip()

    def add_unit(self, name: str, text: str) -> None:
        """Write a unit file and have systemd read it."""
        (self.root / "etc/systemd/system" / name).write_text(text)
        self.systemctl("daemon-reload")

    def journal(self, unit: str, *options: str) -> list[dict[str, Any]]:
        """Journal entries of a unit and about it, oldest first; a namespace is an option, ``--namespace=NAME``."""
        self.run("journalctl", "--sync", *options)
        told = self.run("journalctl", "--no-pager", "--all", "--output=json", f"--unit={unit}", *options).stdout
        return [json.loads(line) for line in told.splitlines()]

    @staticmethod
    def wait_for(is_there: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
        """First true value of a function that is asked again and again; an error that says ``what`` if none comes."""
        return wait_for(is_there, what, patience_s)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the container; it ends when this process is killed."""
        script = [_MOUNT + _BOOT, "sh", self.name, str(ROOT), *map(str, self._groups)]
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *_UNSHARE, "sh", "-c", *script],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to handle
        )

    def _wait_for_boot(self) -> None:
        """Return when ``basic.target`` is active and systemd has the controllers."""
        self.leader = wait_for(self._find_leader, f"systemd in {self.name}", BOOT_S)
        self.root = Path(f"/proc/{self._process.pid}/root/run/root")
        wait_for(self._is_booted, f"basic.target in {self.name}", BOOT_S)
        self.run("sh", "-c", _OPEN_CONTROLLERS, "sh", *(CGROUPS / controller for controller in CONTROLLERS))
        wait_for(self._is_booted, f"basic.target in {self.name}", BOOT_S)
        self._is_up = True

    def _is_booted(self) -> bool:
        self._assert_running()
        return self.systemctl("is-active", "--quiet", "basic.target", check=False).returncode == 0

    def _assert_running(self) -> None:
        if self._process.poll() is not None:
            self._console.seek(0)
            pytest.fail(f"{self.name} ended: {self._console.read()}")

    def _find_leader(self) -> int:
        """Number of the systemd inside, the first process of its namespace; 0 before there is one."""
        self._assert_running()
        for number in _descendants(self._process.pid):
            with suppress(OSError):
                status = Path(f"/proc/{number}/status").read_text()
                fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
                if fields["Name"] == "systemd" and fields["NSpid"].split()[-1] == "1":
                    return number
        return 0

    def _stop(self) -> None:
        """Power off, and end what has not ended by then; a systemd that still starts would ignore being told."""
        try:
            if self._is_up:
                self.systemctl("poweroff", check=False)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_S)
        finally:
            self._process.kill()  # and with it all of its namespaces
            self._process.wait()

    def _remove_groups(self) -> None:
        wait_for(lambda: all(map(_remove_group, self._groups)), f"end of the processes of {self.name}")

    def _assert_nothing_left(self) -> None:
        wait_for(lambda: not processes_with_mount(self.name), f"end of the mounts of {self.name}")


@pytest.fixture(scope="session")
def container() -> Iterator[Container]:
    """Boot one container for all tests of the session; each uses units of its own names."""
    if reason := why_not():
        pytest.skip(reason)
    with Container() as booted:
        yield booted
