"""The outputs of a dataset, each with the name of its node."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from sonyc_ml.outputs.archive.choice import Moment, choice_of, node_of
from sonyc_ml.outputs.archive.layout import place_of
from sonyc_ml.outputs.archive.store import store_at
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.reading import is_archive, iter_outputs


def outputs_by_node(
    dataset: str | Path,
    *,
    nodes: str | Iterable[str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    kinds: Collection[str] | None = None,
) -> Iterator[tuple[str, Output]]:
    """Yield the outputs of a dataset with their nodes.

    A node is what the folders of an archive say, else what the output says, else the first folder of its recording;
    ``unknown`` where nobody says.

    Parameters
    ----------
    dataset, nodes, since, until, kinds
        See :func:`sonyc_ml.iter_outputs`.
    """
    names = None if nodes is None else [nodes] if isinstance(nodes, str) else list(nodes)
    choice = choice_of(names, since, until)
    folders = store_at(dataset).folders() if is_archive(dataset) else []
    of_nodes = [place_of(f"{folder}/").node for folder in folders if folder.startswith("node=")]
    for node in of_nodes:
        if choice.has_node(node):
            for output in iter_outputs(dataset, nodes=node, since=since, until=until, kinds=kinds):
                yield node, output
    if not of_nodes:
        for output in iter_outputs(dataset, nodes=names, since=since, until=until, kinds=kinds):
            folder, slash, _ = output.provenance.recording.partition("/")
            yield node_of(output.provenance) or (folder if slash else "unknown"), output
