"""The name of a recording, which becomes a path below a folder: what no name may hold."""

from __future__ import annotations

from sonyc_ml.errors import OutputNameError

SHOWN_LENGTH = 200  # characters of a bad name in a message


def checked_name(name: str) -> str:
    r"""Return the name of a recording as it is, if it stays below the folder that it is joined to.

    Every name passes here before it becomes a path, whatever it comes from: a store elsewhere, a list, a pattern, a
    journal, a ledger, an output.

    Parameters
    ----------
    name : str
        With ``/`` between its parts.

    Raises
    ------
    OutputNameError
        It is empty or absolute, has an empty part, ``.`` or ``..`` for a part, or holds a zero character.
    """
    problem = _problem(name)
    if problem:
        shown = ascii(name[:SHOWN_LENGTH])
        raise OutputNameError(f"the name {shown} is refused, as {problem}; give the recording another name")
    return name


def _problem(name: str) -> str:
    if not name:
        return "it is empty"
    if "\0" in name:
        return "it holds a zero character, which no path can"
    if name.startswith("/"):
        return "it begins at the root, outside the folder of the outputs"
    parts = name.split("/")
    if ".." in parts:
        return "its part '..' leads out of the folder of the outputs"
    if "" in parts or "." in parts:
        return "it has an empty part or '.' between its slashes, and another name may mean the same file"
    return ""
