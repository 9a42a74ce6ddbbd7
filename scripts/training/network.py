"""The student: a small convolutional network from one second of log-mel features to an embedding of 256 numbers.

Six convolutions, each with batch normalisation and a ReLU, halve the 64 x 51 picture four times; what is left is
averaged over time (not over frequency: where in the spectrum something happens matters) and goes through one dense
layer. In training two more linear layers sit on the embedding: one that predicts what the teacher's layers make of the
window, one that says of each class whether it is there. The first is thrown away afterwards, the second becomes the
head.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from scripts.training import teacher
from scripts.training.material import Material

Floats = npt.NDArray[np.float32]

SEED = 1
INPUT_SHAPE = (64, 51, 1)
N_DIMS = 256
N_CHANNELS = (24, 48, 112, 192)
CENTRE_DB, SPREAD_DB = -30.0, 25.0  # roughly those of log-mel levels; constants, not measured on the data

N_EPOCHS = 3
BATCH_SIZE = 128
LEARNING_RATE, N_WARM_UP_STEPS = 2e-3, 200
LABEL_WEIGHT = 1.0  # of the classes' loss against the teacher's
LAYER_WEIGHTS = (1.0, 0.5, 0.25)  # the teacher's mean, its logits, its earlier layer
LEAST_LOGIT = -12.0  # a score of 6e-6: what is less likely is not worth learning
OUTLIER = 5.0  # standard deviations; YAMNet answers silence with values beyond all others


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
        `(n, 256)` to class scores `(n, n_classes)`, float32: sigmoids, not calibrated yet.
    """
    n_classes = material.labels.shape[1]
    # A third faster where the processor has it, nine times slower where it has not; the weights stay float32.
    keras.config.set_dtype_policy("mixed_bfloat16" if has_bfloat16() else "float32")
    embedder = build_embedder()
    student = _student(embedder, material.targets.shape[1], n_classes)
    n_steps = N_EPOCHS * -(-len(material.features) // BATCH_SIZE)
    student.compile(
        keras.optimizers.Adam(_schedule(n_steps)),
        loss=["mse", keras.losses.BinaryCrossentropy(from_logits=True)],
        loss_weights=[1.0, LABEL_WEIGHT],
    )
    targets = standardised(material.targets)
    student.fit(material.features[..., None], [targets, material.labels], BATCH_SIZE, N_EPOCHS, verbose=0)
    keras.config.set_dtype_policy("float32")
    return _copied(embedder, student.get_layer("classes"), n_classes)


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies bfloat16 numbers itself."""
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def build_embedder() -> keras.Model:
    """The network as it is shipped, untrained."""
    x = features = keras.Input(INPUT_SHAPE)
    x = layers.Rescaling(1 / SPREAD_DB, -CENTRE_DB / SPREAD_DB)(x)
    first, second, third, fourth = N_CHANNELS
    x = _convolved(x, first, size=3, stride=2)
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
    return keras.Model(embedding, layers.Dense(n_classes, activation="sigmoid")(embedding), name="head")


def calibrated(head: keras.Model, slopes: Floats, offsets: Floats) -> keras.Model:
    """Return the head with each class's sum multiplied and shifted before its sigmoid."""
    kernel, bias = head.get_weights()
    changed = build_head(len(bias))
    changed.set_weights([kernel * slopes, bias * slopes + offsets])
    return changed


def logits(head: keras.Model, embeddings: Floats) -> Floats:
    """The head's sums before the sigmoid, `(n, n_classes)`, of embeddings `(n, 256)`."""
    kernel, bias = head.get_weights()
    return np.asarray(embeddings @ kernel + bias, np.float32)


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
    """Teacher's values with mean 0 and about equal spreads, layer by layer, each with its weight in the loss."""
    mean, logits, earlier = np.split(targets, np.cumsum([teacher.N_MEAN, teacher.N_LOGITS]), axis=1)
    parts = [_scaled(part) for part in (mean, np.maximum(logits, LEAST_LOGIT), earlier)]
    n_dims = targets.shape[1]
    shares = [np.sqrt(weight * n_dims / part.shape[1]) for weight, part in zip(LAYER_WEIGHTS, parts, strict=True)]
    return np.concatenate([np.float32(share) * part for share, part in zip(shares, parts, strict=True)], axis=1)


def _scaled(part: Floats) -> Floats:
    """Mean 0, mean square 1; dimensions that hardly ever fire are not blown up, and outliers are cut."""
    usual = np.clip(part, None, np.quantile(part, 0.99, axis=0))
    scaled = np.clip((part - usual.mean(axis=0)) / (usual.std(axis=0) + 0.02), -OUTLIER, OUTLIER)
    return np.asarray(scaled / np.sqrt(np.mean(scaled**2)), np.float32)


class _BatchNormalization(layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """Keras's layer, but over pictures with TensorFlow's one operation for it: a sixth of the training's time less."""

    def call(self, x: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if not training or len(x.shape) != 4:
            return super().call(x, training=training, mask=mask)
        scale, offset = tf.cast(self.gamma, tf.float32), tf.cast(self.beta, tf.float32)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=self.epsilon, is_training=True
        )
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return y


def _convolved(x: keras.KerasTensor, n_channels: int, size: int, stride: int) -> keras.KerasTensor:
    x = layers.Conv2D(n_channels, size, stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(_BatchNormalization(momentum=0.95)(x))


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
