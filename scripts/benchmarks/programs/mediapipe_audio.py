"""MediaPipe's audio classifier over one recording: ``NETWORK RECORDING``; run by the Python of scripts/setup-mediapipe.

It refuses a network that does not say in itself what it reads (AudioProperties of its input, in TensorFlow Lite's
metadata), so that is added first, in a copy in memory.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import soundfile
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata
from mediapipe.tasks.metadata import schema_py_generated as schema
from mediapipe.tasks.python import BaseOptions, audio
from mediapipe.tasks.python.components.containers import AudioData

RATE = 16_000  # Hz, of YAMNet
METADATA, METADATA_FILE, NETWORK_FILE = "TFLITE_METADATA", b"M001", b"TFL3"


def main(network: str, recording: str) -> None:
    """Print the number of windows and the class that each of them most likely has."""
    options = audio.AudioClassifierOptions(
        base_options=BaseOptions(model_asset_buffer=with_metadata(Path(network).read_bytes())), max_results=1
    )
    y, sr = soundfile.read(recording, dtype="float32", always_2d=True)
    with audio.AudioClassifier.create_from_options(options) as classifier:
        windows = classifier.classify(AudioData.create_from_array(y.mean(axis=1), sr))
    print(json.dumps([window.classifications[0].categories[0].index for window in windows]))


def with_metadata(network: bytes) -> bytes:
    """The network, saying what it reads."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(network, 0))
    graph = model.subgraphs[0]
    graph.outputs, model.signatureDefs = graph.outputs[:1], None  # the scores alone
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_properties(), np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    return _packed(model, NETWORK_FILE)


def _properties() -> bytes:
    """One input with sound, one output with scores; what has no name here ends MediaPipe with a fault."""
    sound, content = metadata.AudioPropertiesT(), metadata.ContentT()
    sound.sampleRate, sound.channels = RATE, 1
    content.contentPropertiesType, content.contentProperties = metadata.ContentProperties.AudioProperties, sound
    read, said = metadata.TensorMetadataT(), metadata.TensorMetadataT()
    read.name, read.content, said.name = "sound", content, "scores"
    subgraph, model = metadata.SubGraphMetadataT(), metadata.ModelMetadataT()
    subgraph.inputTensorMetadata, subgraph.outputTensorMetadata = [read], [said]
    model.name, model.minParserVersion, model.subgraphMetadata = "YAMNet", "1.3.0", [subgraph]
    return _packed(model, METADATA_FILE)


def _packed(table: Any, identifier: bytes) -> bytes:
    builder = flatbuffers.Builder(0)
    builder.Finish(table.Pack(builder), identifier)
    return bytes(builder.Output())


if __name__ == "__main__":
    main(*sys.argv[1:])
