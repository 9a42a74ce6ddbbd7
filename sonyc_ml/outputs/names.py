"""A label that holds two names, as ``Turdus merula_Eurasian Blackbird``, and its parts."""

from __future__ import annotations

import re
from typing import NamedTuple

# A genus with a capital and one or two further words in lower case, then what people call it. Other labels are not
# parted: car_horn is one name.
TWO_NAMES = re.compile(r"([A-Z][\w-]+(?: (?:[a-z×][\w.×-]*|[a-z]*\.)){1,3})_(\S.*)")


class Names(NamedTuple):
    """The two names of a class; the same where it has one."""

    scientific: str
    common: str


def split_label(label: str) -> Names:
    """Part a label into its scientific and its common name.

    Examples
    --------
    >>> split_label("Turdus merula_Eurasian Blackbird")
    Names(scientific='Turdus merula', common='Eurasian Blackbird')
    >>> split_label("car_horn")
    Names(scientific='car_horn', common='car_horn')
    """
    scientific, underscore, common = label.partition("_")
    if underscore and scientific == common and scientific:  # as BirdNET has what is no species: Engine_Engine
        return Names(scientific, common)
    found = TWO_NAMES.fullmatch(label)
    return Names(found[1], found[2]) if found else Names(label, label)
