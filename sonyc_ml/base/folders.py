"""Folders: how they are gone through, and the file system that one lies on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

# Where systems and network disks keep what was deleted, or what is their own.
BINS = (
    *("$recycle.bin", "recycler", "recycled", "system volume information", "#recycle", "@recycle", "@eadir"),
    *("#snapshot", "@tmp", "trashbox", "network trash folder", "temporary items"),
)

MOUNTINFO = Path("/proc/self/mountinfo")
# The kernel does not report what other machines do to these.
REMOTE_FILE_SYSTEMS = ("nfs", "cifs", "smb", "ncp", "afs", "9p", "fuse", "ceph", "gluster", "lustre", "virtiofs")
LOCAL_FUSE = ("fuseblk",)  # ntfs and exfat disks


def is_left_out(name: str) -> bool:
    """Whether a file or folder of this name is left alone: it is hidden, or a recycle bin."""
    return name.startswith(".") or name.lower() in BINS


def is_path_left_out(path: str) -> bool:
    """Whether any part of a relative path is left alone."""
    return any(is_left_out(part) for part in path.split("/") if part not in (".", ".."))  # those two are no names


def walk(root: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder from `root` on, in order, each with the sorted names of the files in it.

    A linked folder is followed unless it leads back to where it is found anyway, or round in a circle.
    """
    followed = [os.path.realpath(root)]
    for folder, folders, names in os.walk(root, followlinks=True):
        kept: list[str] = []
        for name in sorted(folders):
            path = os.path.join(folder, name)
            if is_left_out(name):
                continue
            if os.path.islink(path):  # noqa: PTH114  of a hundred thousand
                target = os.path.realpath(path)
                if any(_is_within(target, other) or _is_within(other, target) for other in followed):
                    continue
                followed.append(target)
            kept.append(name)
        folders[:] = kept
        yield folder, sorted(name for name in names if not name.startswith("."))


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def file_system_of(folder: Path, mountinfo: Path = MOUNTINFO) -> str:
    """The kind of file system that a folder lies on, as in ``ext4``; empty where that is not known.

    Parameters
    ----------
    folder : Path
    mountinfo : Path
        See proc(5).
    """
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


def is_remote(kind: str) -> bool:
    """Whether other machines may change files on a file system of this kind."""
    return kind.startswith(REMOTE_FILE_SYSTEMS) and kind not in LOCAL_FUSE
