"""Keras networks to int8 ``.tflite`` files, and running such files.

Weights are quantised channel by channel, activations with ranges measured on a calibration set; input and output stay
float32 and are quantised inside, so that a program that reads the file needs to know nothing of scales.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

Floats = npt.NDArray[np.float32]


def to_int8(network: keras.Model, calibration: Floats) -> bytes:
    """Quantise a network that reads one row at a time.

    Parameters
    ----------
    network : keras.Model
        One input and one output, float32.
    calibration : np.ndarray [shape=(n_rows, …)]
        Inputs as they occur, of training clips only: the activations' ranges are measured on them.
    """
    converter = _converter(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _rows(calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def to_float(network: keras.Model) -> bytes:
    """Convert a network that reads one row at a time, as it is."""
    return bytes(_converter(network).convert())


def run(network: bytes, rows: Floats) -> Floats:
    """Return what a ``.tflite`` file makes of every row, one after another on one thread."""
    interpreter = Interpreter(model_content=network, num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    results = np.empty((len(rows), *made["shape"][1:]), np.float32)
    for row, result in zip(rows, results, strict=True):
        interpreter.set_tensor(given["index"], row.reshape(given["shape"]))
        interpreter.invoke()
        result[:] = interpreter.get_tensor(made["index"])[0]
    return results


def _converter(network: keras.Model) -> tf.lite.TFLiteConverter:
    shape = (1, *network.input_shape[1:])
    function = tf.function(lambda x: network(x, training=False)).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    # Calibration cannot read variables: the weights must be constants before it starts.
    return tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(function)])


def _rows(calibration: Floats) -> Iterator[list[Floats]]:
    for row in calibration:
        yield [row[None]]
