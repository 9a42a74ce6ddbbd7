"""The file system that a folder lies on, and whether another machine has it."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
# The kernel does not report what other machines do to these.
REMOTE_FILE_SYSTEMS = ("nfs", "cifs", "smb", "ncp", "afs", "9p", "fuse", "ceph", "gluster", "lustre", "virtiofs")
LOCAL_FUSE = ("fuseblk",)  # ntfs and exfat disks


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
