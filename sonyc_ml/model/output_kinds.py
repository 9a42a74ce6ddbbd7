"""Which of a network's outputs is the embedding and which the scores."""

from __future__ import annotations

from collections.abc import Mapping

from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model.interpreter import Tensor

OUTPUT_KINDS = ("embedding", "scores")


def name_outputs(tensors: tuple[Tensor, ...], named: Mapping[str, int | str] | None) -> dict[str, int]:
    """Find what was named among a network's outputs.

    Parameters
    ----------
    tensors : tuple of Tensor
        The outputs.
    named : mapping of str to int or str, or None
        Kind to number or name; a network with one output needs none.

    Returns
    -------
    dict of str to int
        Kind to number.

    Raises
    ------
    BundleMismatchError, ValueError
        There is no such output, or no such kind.
    """
    listing = "; ".join(f"{i}: {tensor}" for i, tensor in enumerate(tensors))
    if not named:
        if len(tensors) == 1:
            return {"embedding": 0}
        raise BundleMismatchError(
            f"the network has {len(tensors)} outputs ({listing}): say which is what, as in outputs={{'scores': 0}} "
            "(--outputs scores=0)"
        )
    numbers = {tensor.name: i for i, tensor in enumerate(tensors)} | {str(i): i for i in range(len(tensors))}
    for kind, output in named.items():
        if kind not in OUTPUT_KINDS:
            raise ValueError(f"an output is {' or '.join(OUTPUT_KINDS)}, not {kind!r}")
        if str(output) not in numbers:
            raise BundleMismatchError(f"the network has no output {output!r}; it has {listing}")
    return {kind: numbers[str(output)] for kind, output in named.items()}
