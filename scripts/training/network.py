"""The student: a small convolutional network from one second of log-mel features to an embedding of 256 numbers.

Six convolutions, each with batch normalisation and a ReLU, halve the 64 x 51 picture four times; what is left is
averaged over time (not over frequency: where in the spectrum something happens matters) and goes through one dense
layer. In training two more linear layers sit on the embedding: one that predicts the teacher's embedding, one that
predicts the classes. The first is thrown away afterwards, the second becomes the head.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from scripts.training.material import Material

Floats = npt.NDArray[np.float32]

SEED = 1
INPUT_SHAPE = (64, 51, 1)
N_DIMS = 256
N_CHANNELS = (24, 48, 96, 160)
CENTRE_DB, SPREAD_DB = -30.0, 25.0  # roughly those of log-mel levels; constants, not measured on the data

N_EPOCHS = 3
BATCH_SIZE = 128
LEARNING_RATE, N_WARM_UP_STEPS = 2e-3, 200
LABEL_WEIGHT = 0.2  # of the classes' loss against the teacher's


def make_repeatable() -> None:
    """One thread and fixed seeds: the order of every sum is then the same in every run on a machine."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(SEED)


def trained(material: Material) -> tuple[keras.Model, keras.Model]:
    """Train a student on material.

    Returns
    -------
    embedder : keras.Model
        `(n, 64, 51, 1)` to `(n, 256)`, float32.
    head : keras.Model
        `(n, 256)` to class scores `(n, n_classes)`, float32.
    """
    n_classes = material.labels.shape[1]
    # Twice as fast where the processor has it; the weights stay float32.
    keras.config.set_dtype_policy("mixed_bfloat16")
    embedder = build_embedder()
    student = _student(embedder, material.targets.shape[1], n_classes)
    n_steps = N_EPOCHS * -(-len(material.features) // BATCH_SIZE)
    student.compile(
        keras.optimizers.Adam(_schedule(n_steps)),
        loss=["mse", keras.losses.CategoricalCrossentropy(from_logits=True)],
        loss_weights=[1.0, LABEL_WEIGHT],
    )
    targets = standardised(material.targets)
    student.fit(material.features[..., None], [targets, material.labels], BATCH_SIZE, N_EPOCHS, verbose=0)
    keras.config.set_dtype_policy("float32")
    return _copied(embedder, student.get_layer("classes"), n_classes)


def build_embedder() -> keras.Model:
    """The network as it is shipped, untrained."""
    x = features = keras.Input(INPUT_SHAPE)
    x = layers.Rescaling(1 / SPREAD_DB, -CENTRE_DB / SPREAD_DB)(x)
    first, second, third, fourth = N_CHANNELS
    x = _convolved(x, first, size=5, stride=2)
    for n_channels in (second, third):
        x = _convolved(x, n_channels, size=3, stride=2)
        x = _convolved(x, n_channels, size=3, stride=1)
    x = _convolved(x, fourth, size=3, stride=2)
    x = layers.AveragePooling2D((1, x.shape[2]))(x)
    x = layers.Flatten()(x)
    x = layers.Dense(N_DIMS, use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.95, scale=False)(x)  # equal spreads share one int8 scale well
    return keras.Model(features, layers.ReLU()(x), name="embedder")


def build_head(n_classes: int) -> keras.Model:
    """Embedding to class scores in [0, 1], untrained."""
    embedding = keras.Input((N_DIMS,))
    return keras.Model(embedding, layers.Dense(n_classes, activation="softmax")(embedding), name="head")


def n_multiplications(embedder: keras.Model) -> int:
    """Multiply-accumulate operations of one window, in convolutions and dense layers."""
    total = 0
    for layer in embedder.layers:
        if isinstance(layer, layers.Conv2D):
            total += int(np.prod(layer.output.shape[1:3])) * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def standardised(targets: Floats) -> Floats:
    """Teacher's embeddings with mean 0 and about equal spreads; dimensions that hardly ever fire are not blown up."""
    scaled = (targets - targets.mean(axis=0)) / (targets.std(axis=0) + 0.02)
    return np.asarray(scaled / np.sqrt(np.mean(scaled**2)), np.float32)


def _convolved(x: keras.KerasTensor, n_channels: int, size: int, stride: int) -> keras.KerasTensor:
    x = layers.Conv2D(n_channels, size, stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))


def _student(embedder: keras.Model, n_targets: int, n_classes: int) -> keras.Model:
    embedding = layers.Activation("linear", dtype="float32")(embedder.output)
    target = layers.Dense(n_targets, dtype="float32", name="teacher")(embedding)
    classes = layers.Dense(n_classes, dtype="float32", name="classes")(embedding)
    return keras.Model(embedder.input, [target, classes])


def _schedule(n_steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    return keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 20,
        n_steps - N_WARM_UP_STEPS,
        alpha=0.01,
        warmup_target=LEARNING_RATE,
        warmup_steps=N_WARM_UP_STEPS,
    )


def _copied(embedder: keras.Model, classes: layers.Layer, n_classes: int) -> tuple[keras.Model, keras.Model]:
    """The trained weights in networks that compute in float32 throughout."""
    exact, head = build_embedder(), build_head(n_classes)
    exact.set_weights(embedder.get_weights())
    head.set_weights(classes.get_weights())
    return exact, head
