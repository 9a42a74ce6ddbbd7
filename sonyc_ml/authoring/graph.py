"""A network's graph as its file holds it: cut at a tensor inside it, or given that tensor as one more output.

What a network says last, its scores, is made of an embedding that stays inside it. Of a network without a second output
for it, a new file is written, with the schema that comes with LiteRT; the network itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sonyc_ml.authoring.heads import FILE_IDENTIFIER, load_schema
from sonyc_ml.authoring.network import describe_network
from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.records import dataclass
from sonyc_ml.bundles.integrity import read_plain
from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.model.tensors import find_tensor

ALIGNMENT = 16  # of constants in a file, by the schema
# What may stand beside one dense layer in a head.
AROUND_DENSE = frozenset({"FULLY_CONNECTED", "LOGISTIC", "SOFTMAX", "RESHAPE", "QUANTIZE", "DEQUANTIZE"})
N_NAMED = 8  # tensors that a message lists


@dataclass(frozen=True, slots=True)
class Cut:
    """A network with a tensor inside it as its embedding.

    Attributes
    ----------
    network : bytes
        Gives the embedding as its first output; where there is no head, the scores as its second, if it has some.
    head : bytes or None
        The rest of the network, from the embedding to its scores, where that is one dense layer.
    has_scores : bool
        Whether scores are left, of either.
    """

    network: bytes
    head: bytes | None
    has_scores: bool


class Graph:
    """A network that was read from its file.

    Parameters
    ----------
    network : bytes

    Raises
    ------
    BundleError
        It cannot be read.
    ConfigError
        What reads and writes such files is not installed.
    """

    def __init__(self, network: bytes) -> None:
        self._schema, self._flatbuffers = load_schema()
        try:
            model = self._schema.Model.GetRootAs(network, 0)
            self._model = self._schema.ModelT.InitFromObj(model)
            self._graph = self._model.subgraphs[0]
        except Exception as error:  # the schema's reader has no errors of its own for a damaged file
            raise BundleError(f"the network's graph cannot be read: {error}") from error
        if any(buffer.offset > 1 for buffer in self._model.buffers):
            raise BundleError(
                "the network's constants lie behind its graph, as in files of over 2 GB: it cannot be cut"
            )
        self._producers = {int(t): operator for operator in self._graph.operators for t in _indices(operator.outputs)}
        self.inputs, self.outputs = _indices(self._graph.inputs), _indices(self._graph.outputs)

    def find(self, name: str) -> int:
        """The number of a tensor that the network computes, by its name or as ``#NUMBER``.

        Raises
        ------
        BundleMismatchError
            There is none, or several have that name; says which there are.
        """
        names = {t: _text(self._graph.tensors[t].name) for t in self._producers}
        found = [t for t, text in names.items() if name in (text, f"#{t}")]
        if len(found) == 1:
            return found[0]
        if found:
            raise BundleMismatchError(
                f"{len(found)} tensors of the network are called {name!r}; give one by its number, "
                f"{' or '.join(f'#{t}' for t in found)}"
            )
        last = [text for _, text in sorted(names.items())][-N_NAMED:]
        raise BundleMismatchError(
            f"the network has no output {name!r} and computes no tensor of that name; its last ones are "
            f"{', '.join(map(repr, last))} (`sonyc-ml info` lists those that are worth naming)"
        )

    def cut_at(self, tensor: int, scores: int | None) -> Cut:
        """Make a tensor the embedding.

        Parameters
        ----------
        tensor : int
            See :meth:`find`.
        scores : int or None
            The tensor that holds the scores; none are kept where not given.
        """
        if scores is None:
            return Cut(self.part(self.inputs, [tensor]), None, False)
        rest = self._between([tensor], [scores])
        if rest is not None and self._is_dense(rest):
            return Cut(self.part(self.inputs, [tensor]), self.part([tensor], [scores]), True)
        return Cut(self.part(self.inputs, [tensor, scores]), None, True)

    def part(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Write what lies between some tensors as a network of its own; other outputs and their operators are left out.

        Raises
        ------
        BundleMismatchError
            The outputs depend on other inputs too.
        """
        operators = self._between(inputs, outputs)
        if operators is None:
            raise BundleMismatchError("what was asked for depends on other inputs of the network too")
        return _written(self._schema, self._flatbuffers, self._model, operators, inputs, outputs)

    def _between(self, inputs: Iterable[int], outputs: Sequence[int]) -> list[Any] | None:
        """The operators from some tensors to others, in their order; None where they need a further input."""
        known, needed = set(inputs), set[int]()
        wanted = list(outputs)
        of_network = set(self.inputs) - known
        while wanted:
            t = wanted.pop()
            if t < 0 or t in known:
                continue
            known.add(t)
            if t in of_network:
                return None
            operator = self._producers.get(t)
            if operator is not None and id(operator) not in needed:
                needed.add(id(operator))
                wanted += _indices(operator.inputs)
        # An operator without an output does something all the same: it sets a variable.
        kept = [op for op in self._graph.operators if id(op) in needed or not _indices(op.outputs)]
        return kept if set(self.inputs) <= set(inputs) else [op for op in kept if id(op) in needed]

    def _is_dense(self, operators: Sequence[Any]) -> bool:
        numbers = vars(self._schema.BuiltinOperator)
        names = {number: name for name, number in numbers.items() if isinstance(number, int)}
        codes = [self._model.operatorCodes[operator.opcodeIndex] for operator in operators]
        kinds = [names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "") for code in codes]
        return set(kinds) <= AROUND_DENSE and kinds.count("FULLY_CONNECTED") == 1


def cut_file(path: Path, outputs: Mapping[str, int | str]) -> tuple[Path, dict[str, int | str], str]:
    """Write the network of a file anew where the embedding that was named is a tensor inside it.

    Parameters
    ----------
    path : Path
        ``NAME.tflite``, which stays as it is.
    outputs : mapping
        Which output, or which tensor inside, is what.

    Returns
    -------
    path : Path
        ``NAME-embedding.tflite``; the one that was given where only outputs were named.
    outputs : dict
        Which output of it is what.
    head : str
        File name of ``NAME-embedding-head.tflite``, where there is one.

    Raises
    ------
    BundleError
        There is no such tensor, or a file of that name is there that this did not write.
    """
    content = read_plain(path)
    tensors = describe_network(content).outputs
    known = {*(tensor.name for tensor in tensors), *map(str, range(len(tensors)))}
    inner = [kind for kind, output in outputs.items() if str(output) not in known and not str(output).isdecimal()]
    if not inner:
        return path, dict(outputs), ""
    graph = Graph(content)
    embedding = graph.find(str(outputs[inner[0]]))
    if inner != ["embedding"]:
        raise BundleMismatchError(
            "only the embedding may be a tensor inside the network; scores are one of its outputs"
        )
    named = outputs.get("scores", 0 if len(tensors) == 1 else None)
    cut = graph.cut_at(embedding, None if named is None else tensors[find_tensor(tensors, named, "output")].index)
    made = path.with_name(f"{path.stem}-embedding.tflite")
    _write_parts(path, made, cut)
    kinds: dict[str, int | str] = {"embedding": 0}
    if cut.has_scores and not cut.head:
        kinds["scores"] = 1
    return made, kinds, _head_of(made).name if cut.head else ""


def _write_parts(path: Path, made: Path, cut: Cut) -> None:
    """Write the new network, its head and the extractor that it shares with the one it was cut from."""
    files = {made: cut.network} | ({_head_of(made): cut.head} if cut.head else {})
    extractor = path.with_suffix(".pkl")
    if extractor.exists():
        files[made.with_suffix(".pkl")] = read_plain(extractor)
    for target, part in files.items():
        _write_new(target, part, made.with_suffix(".json"))


def _head_of(made: Path) -> Path:
    return made.with_name(f"{made.stem}-head.tflite")


def _write_new(path: Path, content: bytes, manifest: Path) -> None:
    """Write a file, unless another is there that is not of a bundle that was made in this way before."""
    if path.exists() and not manifest.exists() and path.read_bytes() != content:
        raise BundleError(f"{path} would be written, and is there already: move it away, or rename the network")
    write_atomically(path, content)


# The file


def _written(
    schema: ModuleType, flatbuffers: ModuleType, model: Any, operators: Sequence[Any], inputs: Any, outputs: Any
) -> bytes:
    """A network of some operators of another's, with the tensors and constants that they use."""
    graph = model.subgraphs[0]
    used = {*inputs, *outputs}
    used |= {t for op in operators for list_ in (op.inputs, op.outputs, op.intermediates) for t in _indices(list_)}
    tensors = sorted(used - {-1})
    new = {old: number for number, old in enumerate(tensors)} | {-1: -1}
    others = model.subgraphs[1:]  # of loops and conditions, and what sets variables up
    codes = sorted({op.opcodeIndex for g in (operators, *(other.operators or [] for other in others)) for op in g})
    kept = [graph.tensors[t] for t in tensors]
    held = sorted({0, *(t.buffer for t in kept), *(t.buffer for other in others for t in other.tensors or [])})
    part = copy(graph)
    part.tensors = [_changed(tensor, buffer=held.index(tensor.buffer)) for tensor in kept]
    part.inputs, part.outputs = ([new[t] for t in list_] for list_ in (inputs, outputs))
    part.operators = [_moved(op, new, codes) for op in operators]
    graphs = [part]
    for other in others:
        moved = [_changed(op, opcodeIndex=codes.index(op.opcodeIndex)) for op in other.operators or []]
        held_there = [_changed(tensor, buffer=held.index(tensor.buffer)) for tensor in other.tensors or []]
        graphs.append(_changed(other, operators=moved, tensors=held_there))
    # Names of inputs and outputs, and what is stored for converters and profilers, would be those of the whole.
    made = _changed(model, subgraphs=graphs, metadata=None, metadataBuffer=None, signatureDefs=None)
    made.operatorCodes = [model.operatorCodes[code] for code in codes]
    made.buffers = [AlignedBuffer(schema, model.buffers[buffer].data) for buffer in held]
    builder = flatbuffers.Builder(1024 + sum(len(buffer) for buffer in made.buffers))
    builder.Finish(made.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def _changed(table: Any, **values: Any) -> Any:
    changed = copy(table)
    for name, value in values.items():
        setattr(changed, name, value)
    return changed


def _moved(operator: Any, new: Mapping[int, int], codes: Sequence[int]) -> Any:
    lists = {name: [new[t] for t in _indices(getattr(operator, name))] for name in ("inputs", "outputs")}
    if _indices(operator.intermediates):
        lists["intermediates"] = [new[t] for t in _indices(operator.intermediates)]
    return _changed(operator, opcodeIndex=codes.index(operator.opcodeIndex), **lists)


class AlignedBuffer:
    """A constant, which the schema's own writer would not put where the processor wants it."""

    def __init__(self, schema: ModuleType, data: Any) -> None:
        self._schema = schema
        self._data = b"" if data is None else np.asarray(data, np.uint8).tobytes()

    def __len__(self) -> int:
        return len(self._data) + 2 * ALIGNMENT

    def Pack(self, builder: Any) -> Any:  # noqa: N802  the schema's name for it
        """Write the constant; the schema's writer of a model calls this."""
        data = None
        if self._data:
            builder.StartVector(1, len(self._data), ALIGNMENT)
            builder.head = builder.Head() - len(self._data)
            builder.Bytes[builder.Head() : builder.Head() + len(self._data)] = self._data
            data = builder.EndVector()
        self._schema.BufferStart(builder)
        if data is not None:
            self._schema.BufferAddData(builder, data)
        return self._schema.BufferEnd(builder)


def _indices(tensors: Any) -> list[int]:
    """A list of tensors as plain numbers; what is empty is left out of a file."""
    return [] if tensors is None else [int(t) for t in tensors]


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")
