"""A model class of the user's own, named by a bundle's manifest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml import features
from sonyc_ml.authoring.make import make_bundle, trust
from sonyc_ml.errors import BundleError, BundleIntegrityError
from sonyc_ml.features import LogMel
from sonyc_ml.model import SpecModel
from sonyc_ml.model.loading import load_model
from tests.support import networks
from tests.support.bundles import name_class
from tests.support.command import sonyc_ml

Floats = npt.NDArray[np.float32]

LIBRARY = """
from dataclasses import dataclass
from pathlib import Path

from sonyc_ml.features import PCMWindows
from sonyc_ml.model import Model

Path(__file__).with_name("mark").touch()


@dataclass(frozen=True)
class Parameters:
    gain: float = 1.0
    n_taps: int = 1


class Loud(Model):
    Parameters = Parameters

    def make_extractor(self, parameters, hop_size=0.25):
        self.parameters = parameters
        extractor = PCMWindows(0.25, hop_size, 8000)
        compute = extractor.window_features
        extractor.window_features = lambda *arguments: compute(*arguments) * parameters.gain
        return extractor


class Plain(Model):
    def make_extractor(self):
        return PCMWindows(0.25, 0.25, 8000)


class Unfinished(Model):
    pass


class Odd(Plain):
    Parameters = dict


class Other:
    pass


def function():
    pass
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the user's own, importable, not yet imported; the path is the mark that importing it leaves."""
    package = tmp_path / "site" / "my_library"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models.py").write_text(LIBRARY)
    (package / "broken.py").write_text("raise SystemError('it is broken')\n")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_library"]:
        monkeypatch.delitem(sys.modules, name)
    return package / "mark"


@pytest.fixture
def bundle(library: Path, tmp_path: Path) -> Path:
    """A network that returns the samples it reads, to be read by the user's own class."""
    path = tmp_path / "models" / "a.tflite"
    path.parent.mkdir()
    path.write_bytes(networks.reshaping(networks.Spec((1, 2000)), networks.Spec((1, 2000))))
    make_bundle(path, input_kind="pcm", target_sr=8000)
    return name_class(path, "my_library.models:Loud", {"gain": 2})


def refusal(bundle: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_model(bundle)
    return str(caught.value)


def test_a_class_of_the_users_own_is_the_model(bundle: Path) -> None:
    """The class that the manifest names is built, with its parameters in its dataclass."""
    model: Any = load_model(bundle)
    assert type(model).__name__ == "Loud"
    assert (model.parameters.gain, model.parameters.n_taps) == (2.0, 1)
    assert isinstance(model.parameters.gain, float)
    y = np.linspace(-0.4, 0.4, 4000, dtype=np.float32)
    np.testing.assert_array_equal(model.get_embedding(y, 8000), y.reshape(2, 2000) * 2)


def test_keywords_reach_the_class(bundle: Path) -> None:
    """Keywords of the call go to the class as to any model."""
    assert load_model(bundle, hop_size=0.5, num_threads=2).extractor.hop_size_s == 0.5
    with pytest.raises(TypeError, match="Loud takes no colour; it takes parameters, hop_size"):
        load_model(bundle, colour=1)


def test_a_class_without_parameters_needs_none(bundle: Path) -> None:
    """A class may do without a dataclass, and then takes no parameters from a manifest."""
    assert type(load_model(name_class(bundle, "my_library.models:Plain"))).__name__ == "Plain"
    name_class(bundle, "my_library.models:Plain", {"gain": 1})
    assert refusal(bundle) == "a has parameters, and my_library.models:Plain has no dataclass Parameters for them"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gian": 2.0}, "a.json: parameters.gian is not a known key; did you mean parameters.gain?"),
        ({"gain": "loud"}, "a.json: parameters.gain must be a number, not 'loud'"),
        ({"n_taps": 1.5}, "a.json: parameters.n_taps must be a whole number, not 1.5"),
    ],
)
def test_a_wrong_parameter_is_named_by_its_key(bundle: Path, parameters: dict[str, Any], message: str) -> None:
    """A parameter that the dataclass does not take is refused by its key."""
    assert message in refusal(name_class(bundle, "my_library.models:Loud", parameters))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobodys_library:A", "a needs the class nobodys_library:A, which cannot be imported here"),
        ("my_library.nothing:A", "(ModuleNotFoundError: No module named 'my_library.nothing'): install its package"),
        ("my_library.models:Nothing", "has no attribute 'Nothing'): install its package"),
        ("my_library.broken:A", "(SystemError: it is broken): install its package"),
        ("my_library.models:Other", "is not a class derived from sonyc_ml.model.Model that defines make_extractor"),
        ("my_library.models:function", "is not a class derived from sonyc_ml.model.Model"),
        ("my_library.models:Unfinished", "that defines make_extractor"),
        ("sonyc_ml.model:Model", "that defines make_extractor"),
        ("my_library.models:Odd", "my_library.models:Odd.Parameters is not a dataclass"),
        ("os:system", "os:system is not a class derived from sonyc_ml.model.Model"),
    ],
)
def test_what_is_no_model_class_is_refused(bundle: Path, name: str, message: str) -> None:
    """A class that is missing, or is no model, is refused with what to do."""
    assert message in refusal(name_class(bundle, name))


def test_it_is_imported_when_it_is_needed(bundle: Path, library: Path) -> None:
    """Told to take the network otherwise, the class is not imported; asked to load, it is."""
    assert not library.exists()
    assert type(load_model(bundle, input_kind="pcm", golden="never")).__name__ == "PCMModel"
    assert sonyc_ml("bundle", "info", bundle).returncode == 0
    trust(bundle)
    assert not library.exists()
    load_model(bundle)
    assert library.exists()


@pytest.mark.parametrize("change", ["a.tflite", "a.golden.npz"])
def test_it_is_imported_after_the_digests_held(bundle: Path, library: Path, change: str) -> None:
    """A bundle that is not trusted imports nothing."""
    path = bundle.with_name(change)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleIntegrityError):
        load_model(bundle)
    assert not library.exists()


def test_it_is_not_imported_where_nobody_signed(bundle: Path, library: Path, tmp_path: Path) -> None:
    """Where keys are trusted, an unsigned manifest names no class."""
    (tmp_path / "trusted_keys").touch()
    with pytest.raises(BundleIntegrityError, match="is not signed"):
        load_model(bundle, trusted_keys=tmp_path / "trusted_keys")
    assert not library.exists()


def test_a_class_of_ours_can_be_named(bundle: Path) -> None:
    """The package's own classes are named as any other."""
    bundle.write_bytes(networks.dense((1, 64, 51, 1)))
    trust(name_class(bundle, "sonyc_ml.model:SpecModel"))
    assert type(load_model(bundle)) is SpecModel


class Halved(LogMel):
    """As a class was written when the method's name was `_features`."""

    def _features(self, piece: Floats, hop_length: int, n_windows: int) -> Floats:
        return super()._features(piece, hop_length, n_windows) / np.float32(2)


class Public(LogMel):
    """As a class is written."""

    def window_features(self, piece: Floats, hop_length: int, n_windows: int) -> Floats:
        return super().window_features(piece, hop_length, n_windows) / np.float32(2)


def by_the_old_name_of_one() -> LogMel:
    extractor = LogMel()
    setattr(extractor, "_features", Public().window_features)  # noqa: B010  the old name, on one extractor alone
    return extractor


NOISE = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)


def test_an_extractor_overrides_window_features() -> None:
    """What a class of the user's own overrides has a public name, and no warning comes of it."""
    np.testing.assert_array_equal(Public()(NOISE, 8000), LogMel()(NOISE, 8000) / 2)


@pytest.mark.parametrize("make", [Halved, by_the_old_name_of_one])
def test_the_old_name_goes_on_working(make: Callable[[], LogMel]) -> None:
    """A class, or one extractor, that overrides `_features` computes what it did, and says which name to use."""
    extractor = make()
    with pytest.warns(DeprecationWarning, match="overrides _features, which is window_features now: rename it"):
        computed = extractor(NOISE, 8000)
    np.testing.assert_array_equal(computed, LogMel()(NOISE, 8000) / 2)


def test_no_name_of_the_module_is_made_up() -> None:
    """Beside the old name of `WindowExtractor`, the module has just its own."""
    with pytest.raises(AttributeError, match="has no attribute 'Extractors'"):
        getattr(features, "Extractors")  # noqa: B009  types are checked
