"""Texts that people copy."""

from __future__ import annotations

import subprocess

import pytest

from sonyc_ml.base.human import shell_word, shown

NAMES = ("plain.wav", "two words.wav", "it's.wav", "$(reboot).wav", "a\nb'\\.wav", "\u202eback.wav", "-o.wav", "")


@pytest.mark.parametrize("name", [*NAMES, b"\xff'.wav".decode(errors="surrogateescape")])
def test_a_shell_reads_a_word_as_the_name_that_it_was(name: str) -> None:
    """To the byte, and with nothing in it that a terminal or a page would show otherwise."""
    word = shell_word(name)
    assert shown(word) == word
    printed = subprocess.run(["bash", "-c", f"printf '%s' {word}"], capture_output=True, check=True).stdout
    assert printed.decode(errors="surrogateescape") == name
