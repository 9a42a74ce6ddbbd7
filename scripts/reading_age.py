"""How hard the pages are to read: words in a sentence, and the age from which on readers follow (Flesch and Kincaid).

Run: python -m scripts.reading_age [PAGE.md …]. Only prose counts: no code, tables, headings, and no names in code type.
"""

from __future__ import annotations

import argparse
import re
import statistics
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SCHOOL_BEGINS = 5  # age in years, of grade 0
MADE_FROM_PROGRAM = {"commands.md"}


class Reading(NamedTuple):
    """Of a text: words, words in a sentence, and the age of readers (in years)."""

    n_words: int
    sentence_length: float
    age: float


def main() -> None:
    """Print a row per page, hardest first, and the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE.md")
    pages = parser.parse_args().pages or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {page.name: reading(page.read_text()) for page in pages if page.name not in MADE_FROM_PROGRAM}
    print(f"{'page':22}{'words':>7}{'per sentence':>14}{'age':>7}")
    for name, one in sorted(found.items(), key=lambda item: -item[1].age):
        print(f"{name:22}{one.n_words:7,}{one.sentence_length:14.1f}{one.age:7.1f}")
    print(f"median age {statistics.median(one.age for one in found.values()):.1f}")


def prose(page: str) -> str:
    """The sentences of a page, without what is not read as one."""
    text = re.sub(r"^( *)```.*?^\1```", "", page, flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|\||!\[|<)", line)]
    text = re.sub(r"^\s*(?:[-*]|\d+\.) ", "\n\n", "\n".join(lines), flags=re.MULTILINE)  # each point is a paragraph
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"`[^`]*`", "name", text)


def reading(page: str) -> Reading:
    """How a page reads: the grade of `Kincaid et al. (1975)`_, as an age.

    .. _Kincaid et al. (1975): https://stars.library.ucf.edu/istlibrary/56/
    """
    sentences = [found for part in re.split(r"[.!?]\s+|\n\s*\n", prose(page)) if (found := words(part))]
    every = [word for sentence in sentences for word in sentence]
    length = len(every) / max(len(sentences), 1)
    n_syllables = sum(map(syllables, every)) / max(len(every), 1)
    return Reading(len(every), length, 0.39 * length + 11.8 * n_syllables - 15.59 + SCHOOL_BEGINS)


def words(text: str) -> list[str]:
    """Its words, in lower case."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())


def syllables(word: str) -> int:
    """About how many a word has: groups of vowels, without a silent e at its end."""
    n = len(re.findall(r"[aeiouy]+", re.sub(r"(?<![aeiouyl])e$|(?<=[^dt])ed$|(?<=[^aeiouysxzg])es$", "", word)))
    return max(n, 1)


if __name__ == "__main__":
    main()
