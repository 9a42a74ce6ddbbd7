"""Labels that hold two names."""

from __future__ import annotations

import pytest

from sonyc_ml.outputs.names import split_label


@pytest.mark.parametrize(
    ("label", "scientific", "common"),
    [
        ("Turdus merula_Eurasian Blackbird", "Turdus merula", "Eurasian Blackbird"),
        ("Larus argentatus_Herring Gull (European)", "Larus argentatus", "Herring Gull (European)"),
        ("Human vocal_Human vocal", "Human vocal", "Human vocal"),
        ("Engine_Engine", "Engine", "Engine"),
        ("Homo sapiens_", "Homo sapiens_", "Homo sapiens_"),
        ("car_horn", "car_horn", "car_horn"),
        ("Speech_male, far", "Speech_male, far", "Speech_male, far"),
        ("small-sounding-engine_presence", "small-sounding-engine_presence", "small-sounding-engine_presence"),
        ("siren", "siren", "siren"),
        ("_", "_", "_"),
        ("", "", ""),
    ],
)
def test_a_label_is_parted_into_its_names(label: str, scientific: str, common: str) -> None:
    """Where it begins as a scientific name does, or says one name twice; other labels are one name."""
    assert split_label(label) == (scientific, common)
