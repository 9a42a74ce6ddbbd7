"""A bundle's networks at work, one or a chain of them: features in, outputs by their kind out."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.bundles.sections import check_activation
from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.model.activation import activated, lie_outside, reconstruction_error
from sonyc_ml.model.interpreter import Interpreter, name_outputs

logger = logging.getLogger(__name__)

RECONSTRUCTION = "reconstruction_error"

Floats = npt.NDArray[np.float32]


class Network:
    """The network of a bundle, those that follow it, and the head; :meth:`fit` it to the features' shape first.

    Parameters
    ----------
    bundle : Bundle
    outputs, constants, activation, sensitivity
        What wins over the manifest's; None for what it says. See :class:`~sonyc_ml.model.Model`.
    batch_size : int > 0
        Windows at once, where the network takes any number.
    **kernels
        Of every network: `num_threads`, `reference_kernels`, `backend`; see
        :class:`~sonyc_ml.model.interpreter.Interpreter`.

    Attributes
    ----------
    interpreter : Interpreter
        Of the network that reads the features.
    outputs : dict of str to int
        Which of its outputs is what.
    activation : {"", "sigmoid", "softmax", "reconstruction_error", "none"}
        What makes scores of what it or the head gives as scores.
    sensitivity : float
        Of a sigmoid.
    head : Interpreter or None
        Of the network that reads the embedding; known once it is fitted.

    Raises
    ------
    BundleError
        The networks cannot be used.
    ValueError
        The activation is none.
    """

    def __init__(
        self,
        bundle: Bundle,
        batch_size: int,
        outputs: Mapping[str, int | str] | None = None,
        constants: Mapping[str, Any] | None = None,
        activation: str | None = None,
        sensitivity: float | None = None,
        **kernels: Any,
    ) -> None:
        self._bundle, self._kernels, manifest = bundle, kernels, bundle.manifest
        held = {**(manifest.constants if manifest else {}), **(constants or {})}
        feedback = [(state.in_, state.out) for state in manifest.state] if manifest else []
        self.interpreter = Interpreter(
            bundle.network, batch_size=batch_size, constants=held, feedback=feedback, **kernels
        )
        self._stages = [Interpreter(bundle.files[name], **kernels) for name in (manifest.stages if manifest else ())]
        *leading, last = [self.interpreter, *self._stages]
        of_state = [output for _, output in self.interpreter.feedback]
        if any(len(network.outputs) != 1 for network in leading):
            raise BundleMismatchError("a network that another one follows must have one output, which that one reads")
        self.outputs = name_outputs(
            last.outputs, outputs or (manifest.outputs if manifest else None), () if self._stages else of_state
        )
        self._row_shapes: tuple[tuple[int, ...], ...] = ()
        said = (manifest.activation, manifest.sensitivity) if manifest else ("", None)
        self.activation = said[0] if activation is None else activation
        if sensitivity is None and self.activation == "sigmoid":
            sensitivity = said[1]
        check_activation(self.activation, sensitivity)
        self.sensitivity = 1.0 if sensitivity is None else sensitivity
        self._warns_of_scores = self.activation != "none"
        self.head: Interpreter | None = None
        self._n_embeddings = (manifest.head.n_embeddings if manifest and manifest.head else None) or 1
        self._before = np.zeros((0, 0), np.float32)

    def settings(self, constants: Mapping[str, Any] | None, sensitivity: float | None) -> dict[str, Any]:
        """What an output records of how its scores were made; the activation also where the manifest says it."""
        return {
            "constants": dict(constants) if constants else None,
            "activation": self.activation or None,
            "sensitivity": sensitivity,
        }

    @property
    def carries_state(self) -> bool:
        """Whether a state is handed from window to window, or the head reads the windows before too."""
        return bool(self.interpreter.feedback) or self._n_embeddings > 1

    def check_hop(self, hop_size: float | None, own_s: float) -> None:
        """Refuse another distance between windows than a network with a state has been given, with a ValueError."""
        if self.carries_state and hop_size not in (None, own_s):
            raise ValueError(
                f"{self._bundle.name} carries its state from window to window: they are {own_s:g} s apart, and "
                f"hop_size cannot be {hop_size} s"
            )

    def reset(self) -> None:
        """Begin another recording: what the networks have carried from window to window is zero again."""
        self.interpreter.reset()
        n_dims = self.widths["embedding"] if self._n_embeddings > 1 else 0
        self._before = np.zeros((self._n_embeddings - 1, n_dims), np.float32)

    def fit(self, feature_shape: tuple[int, ...]) -> None:
        """Make the network read windows of this shape, and those that follow it what comes of them.

        Raises
        ------
        BundleMismatchError
            They do not fit; says both shapes.
        """
        self.interpreter.fit(feature_shape)
        self._row_shapes = self.interpreter.row_shapes
        for number, stage in enumerate(self._stages, 2):
            try:
                stage.fit(self._row_shapes[0])
            except BundleError as error:
                raise type(error)(f"network {number} of {self._bundle.name}: {error}") from error
            self._row_shapes = stage.row_shapes
        self.head = self._make_head(self._bundle.head)
        if self.activation == RECONSTRUCTION:
            n_values = math.prod(feature_shape)
            n_given = math.prod(self._row_shapes[self.outputs["scores"]]) if "scores" in self.outputs else 0
            if n_given != n_values or self.head is not None:
                raise BundleMismatchError(
                    f"the activation {RECONSTRUCTION} is of an output of the network that is named as scores and has "
                    f"as many numbers as its input, {n_values}; it has {n_given or 'none'}"
                )

    def _make_head(self, network: bytes | None) -> Interpreter | None:
        if network is None:
            return None
        if "embedding" not in self.outputs or "scores" in self.outputs:
            raise BundleMismatchError("a head reads an embedding and gives scores: the network must have the one alone")
        try:
            head = Interpreter(network, **self._kernels)
            n_dims = math.prod(self._row_shapes[self.outputs["embedding"]])
            head.fit((n_dims,) if self._n_embeddings == 1 else _head_shape(head, self._n_embeddings, n_dims))
        except BundleError as error:
            raise type(error)(f"the head of {self._bundle.name}: {error}") from error
        return head

    @property
    def widths(self) -> dict[str, int]:
        """How many columns each kind of output has."""
        shapes = {kind: self._row_shapes[number] for kind, number in self.outputs.items()}
        if self.head is not None:
            shapes["scores"] = self.head.row_shapes[0]
        widths = {kind: math.prod(shape) for kind, shape in shapes.items()}
        return widths | ({"scores": 1} if self.activation == RECONSTRUCTION else {})

    def checked_labels(self) -> tuple[str, ...]:
        """The labels of the scores, as the manifest has them.

        Raises
        ------
        BundleMismatchError
            There are more or fewer of them than scores.
        """
        labels = self._bundle.manifest.labels if self._bundle.manifest else ()
        n_scores = self.widths.get("scores", 0)
        if labels and len(labels) != n_scores:
            raise BundleMismatchError(f"the manifest has {len(labels)} labels for {n_scores} scores")
        return labels

    def __call__(self, features: Floats) -> dict[str, Floats]:
        """Run the networks on every window.

        Parameters
        ----------
        features : np.ndarray [shape=(n_windows, …), dtype=float32]

        Returns
        -------
        dict of str to np.ndarray [shape=(n_windows, n_columns), dtype=float32]
            By the kind of output.
        """
        computed = self.interpreter(features)
        for stage in self._stages:
            computed = stage(computed[0])
        outputs = {kind: computed[number].reshape(len(features), -1) for kind, number in self.outputs.items()}
        if self.head is not None:
            outputs["scores"] = self.head(self._with_those_before(outputs["embedding"]))[0].reshape(len(features), -1)
        if self.activation == RECONSTRUCTION:
            outputs["scores"] = reconstruction_error(features, outputs["scores"])
        elif "scores" in outputs:
            outputs["scores"] = activated(outputs["scores"], self.activation, self.sensitivity)
            self._look_at(outputs["scores"])
        return outputs

    def _with_those_before(self, embedding: Floats) -> Floats:
        """What the head reads of each window: its embedding, or several, `(n_windows, n_embeddings, n_dims)`."""
        if self._n_embeddings == 1:
            return embedding
        rows = np.concatenate([self._before, embedding])
        self._before = rows[len(rows) - self._n_embeddings + 1 :]
        return np.asarray(sliding_window_view(rows, self._n_embeddings, axis=0).transpose(0, 2, 1))

    def _look_at(self, scores: Floats) -> None:
        """Log, once, that scores are none: whoever compares them with a threshold from 0 to 1 would not see it."""
        if self._warns_of_scores and lie_outside(scores):
            self._warns_of_scores = False
            logger.warning(
                "%s gives scores from %g to %g, which are kept as they are and lie outside [0, 1]: if they are logits, "
                'give the bundle an activation, "sigmoid" or "softmax"; if they are meant so, "none"',
                self._bundle.path,
                scores.min(),
                scores.max(),
            )


def _head_shape(head: Interpreter, n_embeddings: int, n_dims: int) -> tuple[int, ...]:
    """The shape of several embeddings that a head reads: of one row each, or all in one row."""
    n_sizes = sum(size != 1 for size in head.input.shape[1:])
    return (n_embeddings * n_dims,) if n_sizes == 1 else (n_embeddings, n_dims)
