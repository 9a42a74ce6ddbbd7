"""A node's name and place."""

from __future__ import annotations

import pytest

from sonyc_ml.sound.node import MAX_NAME, MAX_TEXT, NAME, Node, host_name


def test_the_host_names_a_node_that_has_no_name() -> None:
    """Whatever the machine is called, a folder, a topic and a label can be called so."""
    assert Node().name == host_name()
    assert NAME.fullmatch(host_name())


@pytest.mark.parametrize("name", ["a", "street-12", "SONYC_7.north", "x" * MAX_NAME])
def test_names_that_are_taken(name: str) -> None:
    """Letters, digits, dots, hyphens and underscores."""
    assert Node(name=name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "12",
        "007",
        "-a",
        ".a",
        "a/b",
        "a b",
        "a+",
        "#",
        "node=1",
        "straße",
        "a\n",
        "a\0",
        "..",
        "x" * (MAX_NAME + 1),
    ],
)
def test_names_that_are_refused(name: str) -> None:
    """What no folder or topic can be called, and what readers of the archive would take for a number."""
    with pytest.raises(ValueError, match="name must begin with a letter"):
        Node(name=name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"latitude": 90.5, "longitude": 0.0}, "latitude must be from -90 to 90 degrees, not 90.5"),
        ({"latitude": 0.0, "longitude": float("nan")}, "longitude must be from -180 to 180 degrees, not nan"),
        ({"elevation_m": 1e6}, "elevation_m must be from -11000 to 9000 m above the sea"),
        ({"latitude": 48.1}, "latitude and longitude belong together"),
        ({"time_zone": "Atlantis"}, "time_zone: there is no time zone 'Atlantis'"),
        ({"note": "a\nb"}, "note must be one line"),
        ({"owner": "x" * (MAX_TEXT + 1)}, f"owner must be one line of at most {MAX_TEXT} characters"),
    ],
)
def test_a_place_that_is_none_is_refused(given: dict[str, float | str], message: str) -> None:
    """One sentence says which key, and what it takes."""
    with pytest.raises(ValueError, match=message):
        Node(**given)  # type: ignore[arg-type]


def test_the_edges_of_the_earth_are_taken() -> None:
    """The poles, the date line and places below the sea are places."""
    Node(latitude=-90.0, longitude=180.0, elevation_m=-400.0, time_zone="Europe/Berlin")
