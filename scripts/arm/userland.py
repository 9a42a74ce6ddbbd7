"""A running userland of another processor: programs in it are emulated, and all that they write is gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.arm.processors import Board, Processor, SkippedError

ROOT_INSIDE = "/mnt/root"
N_USERS = 65536  # users inside are those outside, as in the files that are mounted
PATH_INSIDE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUN_S = 900.0

_UNSHARE = ("unshare", "--user", "--mount", "--pid", "--fork")
# Who it is is known only from outside, and only then it may do things.
_WAIT_FOR_USERS = 'echo; read -r _; exec sh -ec "$@"'
# The first process of the namespaces reads our pipe. It ends when that is closed, however we end, and all that is in
# there ends with it: no process, mount or binfmt_misc entry can be left. It is bash, which buries the orphans.
# The interpreter stays open (F), so that it is found in a folder that does not hold it. Its own binfmt_misc: Linux 6.7.
_MOUNT = """
    layers=$1 qemu=$2 cpuinfo=$3 root=$4
    ulimit -c 0
    mount -t tmpfs -o mode=755 tmpfs /mnt
    mkdir /mnt/upper /mnt/work $root
    mount -t overlay -o userxattr,lowerdir=$layers,upperdir=/mnt/upper,workdir=/mnt/work overlay $root
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    cat /usr/lib/binfmt.d/qemu-$qemu.conf >/proc/sys/fs/binfmt_misc/register
    cd $root
    mkdir -p proc sys dev tmp run
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount -t tmpfs -o mode=755 tmpfs run
    mount --bind "$cpuinfo" proc/cpuinfo
    chroot . ldconfig
    echo mounted
    exec bash -c 'while read -r _; do :; done'
"""


class Userland:
    """An emulated machine that runs programs one at a time or side by side, until it is left.

    Parameters
    ----------
    processor : Processor
    layers : sequence of Path
        Folders that are its root, the uppermost first; they are only read.

    Attributes
    ----------
    root : Path
        Its file system as seen from here; not what is mounted in it, as /tmp and /run.

    Raises
    ------
    SkippedError
        It cannot be mounted here.
    """

    def __init__(self, processor: Processor, layers: Sequence[Path]) -> None:
        self.processor, self._layers = processor, layers
        self._board, self._work = processor.boards[0], Path("/nonexistent")
        self.root = Path("/nonexistent")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Mount it."""
        with ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sonyc-ml-arm-")))
            for board in self.processor.boards:
                (work / board.cpu).write_text(board.cpuinfo())
            self._work = work
            layers = ":".join(map(str, self._layers))
            script = (_MOUNT, "sh", layers, self.processor.qemu, str(self._cpuinfo(self._board)), ROOT_INSIDE)
            self._holder = subprocess.Popen(
                [*_UNSHARE, "sh", "-c", _WAIT_FOR_USERS, "sh", *script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": PATH_INSIDE},
                text=True,
            )
            stack.callback(self._end)
            self._wait_for_mounts()
            self.root = Path(f"/proc/{self._holder.pid}/root{ROOT_INSIDE}")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End every process in it, and by that its mounts."""
        self._stack.close()

    def _wait_for_mounts(self) -> None:
        holder = self._holder
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        holder.stdout.readline()
        try:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{holder.pid}/{name}").write_text(f"0 0 {N_USERS}\n")
            holder.stdin.write("\n")
            holder.stdin.flush()
        except OSError as error:
            raise SkippedError(f"no user namespace can be had here: {error.strerror}") from error
        if holder.stdout.readline() != "mounted\n":
            holder.wait()
            raise SkippedError(
                f"it cannot be mounted here (Linux 6.7 or newer is needed): {holder.stderr.read().strip()}"
            )

    def _end(self) -> None:
        self._holder.communicate()  # closes the pipe

    def command(
        self,
        *words: str | Path,
        environment: Mapping[str, str] | None = None,
        board: Board | None = None,
        sees_processor: bool = True,
    ) -> list[str]:
        """What runs a program inside, from out here; on another board, or without its /proc/cpuinfo, if need be."""
        cpu = (board or self._board).cpu
        fixed = {"PATH": PATH_INSIDE, "HOME": "/root", "LC_ALL": "C.UTF-8", "QEMU_CPU": cpu}
        variables = fixed | dict(environment or {})
        enter = ["nsenter", f"--target={self._leader()}", "--user", "--mount", "--pid", "--"]
        place = f"{ROOT_INSIDE}/proc/cpuinfo"
        if not sees_processor:
            enter += ["unshare", "--mount", "sh", "-ec", f'umount {place}; exec "$@"', "sh"]
        elif board is not None:
            bind = f'mount --bind {self._cpuinfo(board)} {place}; exec "$@"'
            enter += ["unshare", "--mount", "sh", "-ec", bind, "sh"]
        assigned = [f"{name}={value}" for name, value in variables.items()]
        return [*enter, "chroot", ROOT_INSIDE, "env", "-i", *assigned, *map(str, words)]

    def run(
        self,
        *words: str | Path,
        environment: Mapping[str, str] | None = None,
        check: bool = True,
        board: Board | None = None,
        sees_processor: bool = True,
        timeout_s: float = RUN_S,
    ) -> subprocess.CompletedProcess[str]:
        """What a program inside wrote and returned; an error, with its output, if it failed and `check` is set."""
        command = self.command(*words, environment=environment, board=board, sees_processor=sees_processor)
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def copy(self, source: Path, inside: str) -> None:
        """Copy a folder or a file to a place inside."""
        place = self.root / inside.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, place, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
        else:
            shutil.copy2(source, place)

    def _cpuinfo(self, board: Board) -> Path:
        return self._work / board.cpu

    def _leader(self) -> int:
        """The process that all namespaces are of: the child of the one that was started."""
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        return int(children[0])


def check_machine(processor: Processor) -> None:
    """Raise SkippedError where this machine cannot emulate one, before anything is downloaded."""
    if os.geteuid() != 0:
        raise SkippedError("only root can mount a userland")
    for program in ("nsenter", "unshare", f"qemu-{processor.qemu}-static"):
        if shutil.which(program) is None:
            raise SkippedError(f"there is no {program} (Debian packages util-linux and qemu-user-static)")
    if "binfmt_misc" not in Path("/proc/filesystems").read_text():
        raise SkippedError("this kernel has no binfmt_misc")
