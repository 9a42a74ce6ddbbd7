"""A bundle's networks at work: features in, outputs by their kind out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.model.interpreter import Interpreter, name_outputs

Floats = npt.NDArray[np.float32]


class Network:
    """The network of a bundle, and the head that reads its embedding; :meth:`fit` it to the features' shape first.

    Parameters
    ----------
    bundle : Bundle
    outputs : mapping of str to int or str, optional
        Which output of the network is what; see :class:`~sonyc_ml.model.Model`.
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
    head : Interpreter or None
        Of the network that reads the embedding; known once it is fitted.

    Raises
    ------
    BundleError
        The networks cannot be used.
    """

    def __init__(
        self, bundle: Bundle, outputs: Mapping[str, int | str] | None, batch_size: int, **kernels: Any
    ) -> None:
        self._bundle, self._kernels = bundle, kernels
        self.interpreter = Interpreter(bundle.network, batch_size=batch_size, **kernels)
        self.outputs = name_outputs(
            self.interpreter.outputs, outputs or (bundle.manifest.outputs if bundle.manifest else None)
        )
        self.head: Interpreter | None = None

    def fit(self, feature_shape: tuple[int, ...]) -> None:
        """Make the network read windows of this shape, and the head what comes of them.

        Raises
        ------
        BundleMismatchError
            They do not fit; says both shapes.
        """
        self.interpreter.fit(feature_shape)
        self.head = self._make_head(self._bundle.head)

    def _make_head(self, network: bytes | None) -> Interpreter | None:
        if network is None:
            return None
        if "embedding" not in self.outputs or "scores" in self.outputs:
            raise BundleMismatchError("a head reads an embedding and gives scores: the network must have the one alone")
        try:
            head = Interpreter(network, **self._kernels)
            head.fit((math.prod(self.interpreter.row_shapes[self.outputs["embedding"]]),))
        except BundleError as error:
            raise type(error)(f"the head of {self._bundle.name}: {error}") from error
        return head

    @property
    def widths(self) -> dict[str, int]:
        """How many columns each kind of output has."""
        shapes = {kind: self.interpreter.row_shapes[number] for kind, number in self.outputs.items()}
        if self.head is not None:
            shapes["scores"] = self.head.row_shapes[0]
        return {kind: math.prod(shape) for kind, shape in shapes.items()}

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
        outputs = {kind: computed[number].reshape(len(features), -1) for kind, number in self.outputs.items()}
        if self.head is not None:
            outputs["scores"] = self.head(outputs["embedding"])[0].reshape(len(features), -1)
        return outputs
