"""Folders gone through: what is hidden or thrown away is left out, links are followed where they lead somewhere new."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Where systems and network disks keep what was deleted, or what is their own.
BINS = (
    *("$recycle.bin", "recycler", "recycled", "system volume information", "#recycle", "@recycle", "@eadir"),
    *("#snapshot", "@tmp", "trashbox", "network trash folder", "temporary items"),
)


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
