"""Manifests: what is written is what is read, and every mistake is named by its key."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sonyc_ml.bundles.about import Metadata, Quantisation
from sonyc_ml.bundles.manifest import Manifest, parse_manifest, version_numbers
from sonyc_ml.bundles.sections import Detections, Golden, Head, Input, Keep, Location
from sonyc_ml.bundles.waveform import Stage, State, Stream, Waveform
from sonyc_ml.errors import BundleError
from tests.conftest import floats

DIGEST = "0" * 64
LEAST = Manifest(1, "a", "1.0.0", 8000, 1.0, 0.1, Input("pickled"), {"a.tflite": DIGEST})
FULL = Manifest(
    schema_version=1,
    name="a",
    version="1.2.3",
    sample_rate=16000,
    window_size_s=0.975,
    hop_size_s=0.48,
    input=Input("log_mel", {"n_mels": 64, "fmax": None, "res_type": "soxr_hq"}),
    files={
        "a.tflite": DIGEST,
        "second.tflite": "e" * 64,
        "head of a.tflite": "f" * 64,
        "where.tflite": "0" * 64,
        "a.golden.npz": "1" * 64,
    },
    description="Zwei Zeilen,\nund ein ♫",
    licence="CC0-1.0",
    stages=("second.tflite",),
    outputs={"embedding": 0, "scores": "Identity_1"},
    constants={"place": [48.1, 11.6], "week": 12, "day": True},
    state=(State("memory", "Identity_2"), State(3, 4)),
    activation="sigmoid",
    sensitivity=1.25,
    labels=("dog, barking", "siren"),
    head=Head("head of a.tflite", 3),
    location=Location("where.tflite", 0.1),
    class_="my_library.models:MyModel",
    parameters={"lowest_hz": 50.0},
    pickle={"python": "3.11.2", "dill": "0.4.1", "numpy": "2.2.0"},
    golden=Golden("a.golden.npz", 0.01, 0.99, 0.1),
    detections=Detections(threshold=0.3, thresholds={"dog, barking": 0.9}, merge_s=False),
    keep=Keep(scores="top-k", top_k=3, score_dtype="float16"),
    metadata=Metadata(domains=("environmental",), short_description="Dogs and sirens ♫", tags=("dogs",)),
    quantisation=Quantisation("int8", "a-quantiser 1.0", "b 1.0.0", "2" * 64, 4096, 3, 100, 7, 3, 0.99, agreement=1.0),
)
TRACKS = Manifest(
    *(1, "a", "1.0.0", 16000, 0.032, 0.008),
    Input("waveform"),
    {"a.tflite": DIGEST, "b.tflite": DIGEST},
    waveform=Waveform(
        tracks=("speech", "rest-2"),
        stages=(Stage("a.tflite", (State("h_in", 1),)), Stage("b.tflite")),
        res_type="soxr_hq",
        stream=Stream(512, 128, 3),
        class_="my_library.blocks:Mine",
        tolerance=0.01,
    ),
)


def table(**changes: Any) -> dict[str, Any]:
    """The least of a manifest as JSON holds it, with some keys changed; None takes one out."""
    changed = json.loads(LEAST.text()) | changes
    return {key: value for key, value in changed.items() if value is not None}


def complaint(content: Any) -> str:
    """What is said of a manifest that cannot be meant as written."""
    with pytest.raises(BundleError) as caught:
        parse_manifest(content if isinstance(content, bytes) else json.dumps(content).encode(), "a.json")
    assert type(caught.value) is BundleError
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("manifest", [LEAST, FULL, TRACKS], ids=["least", "full", "tracks"])
def test_what_is_written_is_what_is_read(manifest: Manifest) -> None:
    """A manifest's text gives an equal manifest, and the same text again."""
    parsed = parse_manifest(manifest.text().encode(), "a.json")
    assert parsed == manifest
    assert parsed.text() == manifest.text()


def test_every_field_is_in_the_full_one() -> None:
    """The manifest that goes round has something in each field but for those of tracks, so that none is forgotten."""
    left = [entry.name for entry in dataclasses.fields(FULL) if getattr(FULL, entry.name) == getattr(LEAST, entry.name)]
    assert left == ["schema_version", "name", "waveform"]


def test_a_head_without_a_number_is_written_as_before() -> None:
    """What reads one embedding says nothing of it: manifests of before stay byte for byte what they were."""
    text = dataclasses.replace(FULL, head=Head("head of a.tflite")).text()
    assert json.loads(text)["head"] == {"network": "head of a.tflite"}
    wrong = json.loads(text) | {"head": {"network": "head of a.tflite", "n_embeddings": 0}}
    assert "n_embeddings must be from 1" in complaint(wrong)


def test_a_text_is_plain_json() -> None:
    """The text is JSON of keys as documented, without those that say nothing."""
    assert json.loads(LEAST.text()) == {
        "schema_version": 1,
        "name": "a",
        "version": "1.0.0",
        "sample_rate": 8000,
        "window_size_s": 1.0,
        "hop_size_s": 0.1,
        "input": {"kind": "pickled", "parameters": {}},
        "files": {"a.tflite": DIGEST},
    }
    assert json.loads(FULL.text())["class"] == "my_library.models:MyModel"


@pytest.mark.parametrize("key", ["domains", "domain_tags"])
@pytest.mark.parametrize("name", ["music", "Music"])
def test_domains_have_an_older_name(key: str, name: str) -> None:
    """Domains are read under both of their names, in capitals or not, and written under the newer one."""
    manifest = parse_manifest(json.dumps(table(metadata={key: [name]})).encode(), "a.json")
    assert json.loads(manifest.text())["metadata"] == {"domains": ["music"], "multichannel": False}


def test_the_limits_of_metadata_are_allowed() -> None:
    """What is exactly as long, as many or as fast as allowed is taken."""
    metadata = {
        "sample_rate": 396000,
        "domains": ["music", "speech", "environmental", "other"],
        "multichannel": True,
        "short_description": "a" * 60,
        "long_description": "a" * 280,
        "tags": ["a" * 15] * 5,
        "labels": ["dog"],
        "effect_type": "waveform-to-labels",
    }
    manifest = parse_manifest(
        json.dumps(table(sample_rate=396000, labels=["dog"], metadata=metadata)).encode(), "a.json"
    )
    assert json.loads(manifest.text())["metadata"] == metadata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licens": "CC0"}, "a.json: licens is not a known key; did you mean licence?"),
        ({"class_": "a:B"}, "a.json: class_ is not a known key; did you mean class?"),
        ({"zzz": 1}, "a.json: zzz is not a known key; known are schema_version, name,"),
        ({"input": {"knd": "pcm"}}, "a.json: input.knd is not a known key; did you mean input.kind?"),
        ({"golden": {"file": "a.tflite", "cosin": 1}}, "golden.cosin is not a known key; did you mean golden.cosine?"),
        ({"name": None}, "a.json: name is missing"),
        ({"files": None}, "a.json: files is missing"),
        ({"input": {}}, "a.json: input.kind is missing"),
        ({"head": {}}, "a.json: head.network is missing"),
        ({"golden": {}}, "a.json: golden.file is missing"),
        ({"name": 5}, "a.json: name must be a string, not 5"),
        ({"sample_rate": "8000"}, "a.json: sample_rate must be a whole number, not '8000'"),
        ({"sample_rate": 8000.5}, "a.json: sample_rate must be a whole number, not 8000.5"),
        ({"sample_rate": True}, "a.json: sample_rate must be a whole number, not True"),
        ({"sample_rate": -1}, "a.json: sample_rate must be a number of 0 or more, not -1"),
        ({"window_size_s": "1"}, "a.json: window_size_s must be a number, not '1'"),
        ({"hop_size_s": -0.1}, "a.json: hop_size_s must be a number of 0 or more, not -0.1"),
        ({"labels": "dog"}, "a.json: labels must be a list of strings, not 'dog'"),
        ({"labels": ["dog", 1]}, "a.json: labels must be a list of strings, not ['dog', 1]"),
        ({"input": "pcm"}, "a.json: input must be a table, not 'pcm'"),
        ({"input": {"kind": "wav"}}, "a.json: input.kind must be one of pickled, log_mel, pcm, waveform, not 'wav'"),
        ({"outputs": {"scores": 0.5}}, "a.json: outputs.scores must be a whole number or a string, not 0.5"),
        ({"pickle": {"dill": 4}}, "a.json: pickle.dill must be a string, not 4"),
        ({"class": "my_library"}, "a.json: class must be like 'my_library.models:MyModel', not 'my_library'"),
        ({"class": "1a:B"}, "a.json: class must be like"),
        ({"class": "a.b:C.d"}, "a.json: class must be like"),
        ({"class": "a.b:C()"}, "a.json: class must be like"),
        ({"class": "a b:C"}, "a.json: class must be like"),
        ({"class": ".models:A"}, "a.json: class must be like"),
        ({"class": ":A"}, "a.json: class must be like"),
        ({"schema_version": 2}, "schema_version must be 1, not 2; a newer sonyc-ml may know it"),
        ({"version": "1.0"}, "a.json: version must be like '1.0.0', not '1.0'"),
        ({"version": "1.0.0-rc1"}, "a.json: version must be like '1.0.0'"),
        ({"version": "1.0.0\n"}, "a.json: version must be like '1.0.0'"),
        ({"version": "-1.0.0"}, "a.json: version must be like '1.0.0'"),
        ({"version": "٢.٠.٠"}, "a.json: version must be like '1.0.0'"),
        ({"version": "9" * 5000 + ".0.0"}, "a.json: version must be like '1.0.0'"),
        ({"files": {"a.tflite": "0" * 63}}, "a.json: files.a.tflite must be a SHA-256 in hexadecimal, not '000"),
        ({"files": {"a.tflite": "A" * 64}}, "a.json: files.a.tflite must be a SHA-256 in hexadecimal"),
        ({"files": {"a.tflite": 0}}, "a.json: files.a.tflite must be a string, not 0"),
        ({"files": ["a.tflite"]}, "a.json: files must be a table, not ['a.tflite']"),
        ({"head": {"network": "h.tflite"}}, "a.json: head.network names 'h.tflite', which is not among files"),
        ({"golden": {"file": "g.npz"}}, "a.json: golden.file names 'g.npz', which is not among files"),
        ({"metadata": {"tag": []}}, "a.json: metadata.tag is not a known key; did you mean metadata.tags?"),
        ({"metadata": {"sample_rate": -1}}, "a.json: metadata.sample_rate must be from 0 to 396000, not -1"),
        ({"metadata": {"sample_rate": 396001}}, "a.json: metadata.sample_rate must be from 0 to 396000, not 396001"),
        ({"metadata": {"sample_rate": 16000}}, "a.json: metadata.sample_rate is 16000, and the manifest's own is 8000"),
        (
            {"metadata": {"domains": ["birds"]}},
            "a.json: metadata.domains must be of music, speech, environmental, other",
        ),
        ({"metadata": {"domain_tags": ["birds"]}}, "a.json: metadata.domains must be of music, speech, environmental"),
        ({"metadata": {"domains": ["music"], "domain_tags": ["speech"]}}, "metadata.domains and domain_tags are two"),
        ({"metadata": {"short_description": "a" * 61}}, "metadata.short_description has 61 characters; 60 is the most"),
        (
            {"metadata": {"long_description": "a" * 281}},
            "metadata.long_description has 281 characters; 280 is the most",
        ),
        ({"metadata": {"tags": list("abcdef")}}, "a.json: metadata.tags has 6 entries; 5 is the most"),
        ({"metadata": {"tags": ["a" * 16]}}, "a.json: metadata.tags must each have 1 to 15 characters"),
        (
            {"metadata": {"effect_type": "labels"}},
            "metadata.effect_type must be one of waveform-to-labels, waveform-to-",
        ),
        ({"metadata": {"multichannel": 1}}, "a.json: metadata.multichannel must be true or false, not 1"),
        ({"labels": ["dog"], "metadata": {"labels": ["cat"]}}, "a.json: metadata.labels and the manifest's own labels"),
        ({"quantisation": {"recipe": "int8"}}, "a.json: quantisation.tool is missing"),
    ],
    ids=str,
)
def test_a_mistake_is_named_by_its_key(changes: dict[str, Any], message: str) -> None:
    """What cannot be meant as written is refused by its dotted key, with what the key takes."""
    assert message in complaint(table(**changes))


@pytest.mark.parametrize(
    "name", ["../a.pkl", "/etc/passwd", "sub/a.pkl", "..", ".", ".hidden", "", "a\0.pkl", "a\n.pkl", "a\x1b[2J.pkl"]
)
def test_a_file_lies_in_the_manifests_own_folder(name: str) -> None:
    """No name of a file leads out of the folder, hides, or plays tricks with a terminal."""
    assert "must be a file in the manifest's own folder" in complaint(table(files={name: DIGEST}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.json is not JSON: Expecting value"),
        (b"{", "a.json is not JSON"),
        (b"\xff\xfe\xff", "a.json is not JSON"),
        (b"[]", "a.json must hold a JSON object"),
        (b"[" * 100_000, "a.json is not JSON"),
        (b'{"a":' * 100_000, "a.json is not JSON"),
        (b"1" * 5000, "a.json is not JSON"),
        (json.dumps(table(hop_size_s=float("nan"))).encode(), "a.json is not JSON: NaN is no number"),
        (json.dumps(table(hop_size_s=float("inf"))).encode(), "a.json is not JSON: Infinity is no number"),
        (json.dumps(table()).replace("0.1", "1e999").encode(), "hop_size_s must be a number of 0 or more, not inf"),
        (json.dumps(table()).replace("0.1", "1" * 400).encode(), "a.json: hop_size_s is larger than any number"),
        (json.dumps(table(description="\ud800")).encode(), "a.json is not JSON"),
        (json.dumps({"\x1b[2J\nfoo": 1}).encode(), r"a.json: \x1b[2J\nfoo is not a known key"),
    ],
    ids=lambda value: str(value[:12]),
)
def test_what_is_no_manifest_is_refused(content: bytes, message: str) -> None:
    """Whatever a file holds, the refusal is one printable line."""
    assert message in complaint(content)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_mels": 10**9}, "input.parameters.n_mels must be at most 16384, not 1000000000"),
        ({"n_fft": 2**40}, "input.parameters.n_fft must be at most 1.04858e+06"),
        ({"n_fft": 10**400}, "input.parameters.n_fft must be at most"),
        ({"n_fft": -(2**40)}, "input.parameters.n_fft must be at most"),
        ({"n_fft": 1e300}, "input.parameters.n_fft must be at most"),
        ({"target_sr": 10**12}, "input.parameters.target_sr must be at most 1e+07"),
        ({"duration": 1e9}, "input.parameters.duration must be at most 3600"),
        ({"hop_size": 1e-9}, "input.parameters.hop_size must be at least 0.0005 s"),
        ({"n_fft": 2**20, "n_mels": 2**14}, "n_fft and n_mels: the mel bands would have"),
        ({"duration": 3600, "target_sr": 192_000}, "duration and target_sr: a window would have"),
        ({"duration": 600, "mel_hop_len": 1}, "the features of a window would have"),
        ({"mel_hop_len": 1, "n_fft": 2**16}, "the spectra of a window would have"),
    ],
    ids=str,
)
def test_the_numbers_of_an_extractor_have_bounds(parameters: dict[str, Any], message: str) -> None:
    """What would take more time or memory than there is is refused before anything of it is computed."""
    assert message in complaint(table(input={"kind": "log_mel", "parameters": parameters}))


@pytest.mark.parametrize(
    "parameters",
    [
        {"target_sr": 384_000, "duration": 5, "n_fft": 4096, "n_mels": 512, "mel_hop_len": 1024},
        {"target_sr": 16_000, "duration": 60.0, "n_fft": 2048, "n_mels": 256, "mel_hop_len": 160},
        {"target_sr": 48_000, "hop_size": 0.001},
        {"n_mels": "many", "fmax": None},
    ],
    ids=str,
)
def test_bounds_leave_room_for_what_people_use(parameters: dict[str, Any]) -> None:
    """Bats, long windows and short hops are within them; what is no number is the extractor's to refuse."""
    assert Input("log_mel", parameters).parameters == parameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": 10**8}, "a.json: sample_rate must be at most 1e+07"),
        ({"window_size_s": 1e6}, "a.json: window_size_s must be at most 3600"),
        ({"hop_size_s": 1e7}, "a.json: hop_size_s must be at most 86400"),
        ({"hop_size_s": 1e-9}, "a.json: hop_size_s must be at least 0.0005"),
        ({"golden": {"file": "a.tflite", "features_db": 1.01}}, "golden.features_db must be from 0 to 1"),
        ({"golden": {"file": "a.tflite", "scores": 0.51}}, "golden.scores must be from 0 to 0.5"),
        ({"golden": {"file": "a.tflite", "cosine": 0.89}}, "golden.cosine must be from 0.9 to 1"),
        ({"golden": {"file": "a.tflite", "cosine": -2}}, "golden.cosine must be from 0.9 to 1"),
        ({"golden": {"file": "a.tflite", "scores": -0.1}}, "golden.scores must be from 0 to 0.5"),
    ],
    ids=str,
)
def test_the_numbers_of_a_manifest_have_bounds(changes: dict[str, Any], message: str) -> None:
    """A golden vector that anything would pass proves nothing, and no window is longer than an hour."""
    assert message in complaint(table(**changes))


@pytest.mark.parametrize("place", ["", "input", "files"])
def test_a_key_that_is_there_twice_is_refused(place: str) -> None:
    """Readers of JSON differ in which of two counts, so neither does, however deep it lies."""
    text = json.dumps(table())
    key, value = {"": ("version", "2.0.0"), "input": ("kind", "pcm"), "files": ("a.tflite", "1" * 64)}[place]
    begin = text.index("{", text.index(f'"{place}"')) + 1 if place else 1
    assert f"a.json is not JSON: the key '{key}' is there twice" in complaint(
        f'{text[:begin]}"{key}": "{value}", {text[begin:]}'.encode()
    )


@pytest.mark.parametrize("name", ["features_db", "cosine", "scores"])
def test_a_tolerance_is_a_number(name: str) -> None:
    """A tolerance that no difference could be compared with is a mistake of whoever makes the bundle."""
    with pytest.raises(ValueError, match=f"{name} must be a number, not nan"):
        Golden("a.npz", **{name: float("nan")})


def test_versions_are_compared_as_numbers() -> None:
    """1.10.0 is newer than 1.9.0, though it comes before it in a dictionary."""
    shuffled = ["1.9.10", "10.0.0", "1.10.0", "0.9.9", "1.9.0"]
    assert sorted(shuffled, key=version_numbers) == ["0.9.9", "1.9.0", "1.9.10", "1.10.0", "10.0.0"]
    assert dataclasses.replace(LEAST, version="1.10.0").version_numbers == (1, 10, 0)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(value=PLAIN)
def test_no_json_raises_anything_else(value: Any) -> None:
    """Any JSON there is gives a manifest or a BundleError."""
    with pytest.raises(BundleError):
        parse_manifest(json.dumps(value).encode(), "a.json")


@example(key="name", value="")
@given(key=st.sampled_from([entry.name.rstrip("_") for entry in dataclasses.fields(Manifest)]), value=PLAIN)
def test_no_value_raises_anything_else(key: str, value: Any) -> None:
    """Any value of any key gives a manifest, which goes round, or a BundleError."""
    try:
        manifest = parse_manifest(json.dumps(json.loads(FULL.text()) | {key: value}).encode(), "a.json")
    except BundleError:
        return
    assert parse_manifest(manifest.text().encode(), "a.json") == manifest
    assert manifest.version_numbers


@given(content=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    """Any bytes are refused with a BundleError."""
    with pytest.raises(BundleError):
        parse_manifest(content, "a.json")
