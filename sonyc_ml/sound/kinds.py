"""Kinds of sound files by their names: those that are read, and those that are often seen beside them."""

from __future__ import annotations

from collections.abc import Mapping

EXTENSIONS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".mp3")
OTHER_EXTENSIONS = (
    *(".m4a", ".m4b", ".mp4", ".aac", ".caf", ".wma", ".amr", ".3gp", ".au", ".snd", ".wv", ".ape", ".webm"),
    *(".mka", ".ac3", ".dsf", ".wac", ".zc", ".mp2", ".bwf", ".wave"),
)


def skipped_kind(file_name: str, extensions: tuple[str, ...] = EXTENSIONS) -> str:
    """The ending of a sound file's name that is not among `extensions`, lower case; empty for every other file."""
    name = file_name.lower()
    if name.endswith(extensions) or file_name.startswith("."):
        return ""
    return next((ending for ending in (*EXTENSIONS, *OTHER_EXTENSIONS) if name.endswith(ending)), "")


def in_words(skipped: Mapping[str, int]) -> str:
    """What was skipped, as in ``12 .mp3, 1 .m4a``."""
    return ", ".join(f"{n:,} {kind}" for kind, n in sorted(skipped.items(), key=lambda item: (-item[1], item[0])))
