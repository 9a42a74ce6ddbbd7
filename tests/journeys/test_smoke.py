"""The road from a recording to its embedding, once through."""

from pathlib import Path

import numpy as np

from sonyc_ml import AudioModel, load_model


def test_a_recording_becomes_an_embedding(sonyc_bundle: Path, street: Path, tmp_path: Path) -> None:
    model = load_model(sonyc_bundle)
    assert isinstance(model, AudioModel)
    path = model.process_file(street / "11_000297.wav", tmp_path / "out.npz")
    with np.load(path, allow_pickle=False) as output:
        assert output["embedding"].shape == (91, 256)
        assert output["timestamps"][1] == 0.1
