"""A store by its address: what cannot be opened is one sentence, and shows nobody's password."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sonyc_ml import read_embeddings
from sonyc_ml.base.stores.opening import open_store
from sonyc_ml.batch.remote import find
from sonyc_ml.bundles.rollout.store import BundleStore
from sonyc_ml.errors import ConfigError, StoreError

pytest.importorskip("fsspec", reason="stores are an extra")

# Nobody listens at port 1.
AWAY = "sftp://user:hunter22@127.0.0.1:1/x"
WAYS: dict[str, Callable[[str], object]] = {
    "opened": open_store,
    "archive": read_embeddings,
    "bundles": BundleStore,
    "recordings": lambda address: list(find(address, (".wav",))),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_store_that_is_away_is_one_sentence(way: str) -> None:
    """SFTP connects as soon as it is opened: that this fails is told without the password of the address."""
    pytest.importorskip("paramiko", reason="SFTP is an extra")
    with pytest.raises(StoreError, match=r"^sftp://\*\*\*@127\.0\.0\.1:1/x cannot be reached: .*onnect") as caught:
        WAYS[way](AWAY)
    assert "hunter22" not in str(caught.value)


def test_an_address_of_no_kind_of_store() -> None:
    """What fsspec does not know is refused by the name of its kind."""
    with pytest.raises(ConfigError, match=r"^gopher://\*\*\*@host/x cannot be reached: .*gopher"):
        open_store("gopher://user:hunter22@host/x")


def test_a_store_in_memory() -> None:
    """A place is known by what the store calls it."""
    system, path = open_store("memory://a/x")
    system.pipe_file(path, b"1")
    assert system.cat_file("/a/x") == b"1"
