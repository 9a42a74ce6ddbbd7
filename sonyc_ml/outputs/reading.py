"""A folder of outputs as arrays, whatever they were written as."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sonyc_ml.errors import ConfigError, MissingOutputsError
from sonyc_ml.outputs.archive.choice import Choice, Moment, choice_of, node_of
from sonyc_ml.outputs.archive.embeddings import Embeddings, described
from sonyc_ml.outputs.archive.store import is_remote, store_at
from sonyc_ml.outputs.detection_table import Detections, detections_of
from sonyc_ml.outputs.files import FORMATS, read_output, read_provenance
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.outputs.parquet import read_part

logger = logging.getLogger(__name__)

STATE_FOLDER = ".sonyc-ml"  # of whoever writes outputs into the folder
BEGINNING_OF_CSV = b"# recording: "
PARTITIONS = ("node=", "date=", "day=")
SUFFIXES = (*(f".{name}" for name in FORMATS), ".parquet")


def read_embeddings(
    folder: str | Path,
    *,
    nodes: str | Iterable[str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    kinds: Collection[str] | None = None,
) -> Embeddings:
    """Read every output of a folder, with its sub-folders, into memory; or those of some nodes, of some time.

    For what does not fit there, see :func:`iter_outputs`. Of an archive (folders ``node=…/date=…``) only the parts and
    row groups are read that are needed; a window that is there twice is read once.

    Parameters
    ----------
    folder : str or Path
        Of outputs as ``sonyc-ml embed`` and ``watch`` write them; or one output; or the address of an archive in a
        store elsewhere, as in ``s3://bucket/archive``.
    nodes : str or iterable of str, optional
        Names of nodes whose outputs are read; all where not given.
    since, until : datetime, np.datetime64 or str in ISO 8601, optional
        Windows that begin at the first or later, and before the second; in UTC where they have no zone. Windows of
        which nobody knows the time are then left out.
    kinds : collection of str, optional
        What is read of ``embedding``, ``scores``, ``top_classes`` and ``top_scores``; without it everything, detections
        too.

    Raises
    ------
    ConfigError
        There are no outputs, or they do not go together: other widths, other labels.
    ValueError
        An output is damaged; says which. Or one of the arguments cannot be.
    OSError, StoreError
        One cannot be read for now, or a store elsewhere not be reached.
    """
    choice = choice_of(nodes, since, until)
    if is_archive(folder):
        return _read_archive(folder, choice, kinds)
    outputs = [_cropped(output, choice) for output in iter_outputs(folder, nodes=nodes, since=since, until=until)]
    if not outputs:
        raise ConfigError(f"there are no outputs in {folder}{'' if choice.is_all else ' of what is asked for'}")
    _check_alike(outputs, Path(folder))
    return _joined(outputs, folder, kinds)


def _read_archive(folder: str | Path, choice: Choice, kinds: Collection[str] | None) -> Embeddings:
    from sonyc_ml.outputs.archive.columns import read_columns  # noqa: PLC0415  most folders are none

    found, n_without = read_columns(store_at(folder), choice, kinds)
    _warn_of_unheard(n_without, len(found.provenances), folder)
    return found


def _joined(outputs: list[Output], folder: str | Path, kinds: Collection[str] | None) -> Embeddings:
    n_without = sum(output.detections is None for output in outputs)
    has_heard = n_without < len(outputs) and kinds is None
    _warn_of_unheard(n_without if has_heard else 0, len(outputs), folder)
    numbers = np.arange(len(outputs), dtype=np.int32)
    names = [name for name in outputs[0].by_kind() if kinds is None or name in kinds]
    arrays: dict[str, Any] = {name: np.concatenate([output.by_kind()[name] for output in outputs]) for name in names}
    return Embeddings(
        labels=() if "scores" not in names else outputs[0].labels,
        detections=detections_of(outputs) if has_heard else None,
        start_s=np.concatenate([output.timestamps for output in outputs]),
        time=np.concatenate([output.times() for output in outputs]),
        number=np.repeat(numbers, [len(output.timestamps) for output in outputs]),
        provenances=tuple(output.provenance for output in outputs),
        nodes=tuple(node_of(output.provenance) for output in outputs),
        **arrays,
    )


def _warn_of_unheard(n_without: int, n_outputs: int, folder: str | Path) -> None:
    if n_without:
        logger.warning(
            "%d of %d outputs in %s have no detections, as if nothing was heard", n_without, n_outputs, folder
        )


def _cropped(output: Output, choice: Choice) -> Output:
    """An output with the windows that are asked for, and the detections that begin in them."""
    if not choice.is_span:
        return output
    kept = choice.rows(output.times())
    heard = output.detections
    if heard is not None:
        starts_s = np.array([one.start_s for one in heard], np.float64)
        row = np.maximum(np.searchsorted(output.timestamps, starts_s, side="right") - 1, 0)
        heard = tuple(one for one, is_kept in zip(heard, kept[row], strict=True) if is_kept)
    arrays: dict[str, Any] = {name: array[kept] for name, array in output.by_kind().items()}
    return replace(output, timestamps=output.timestamps[kept], detections=heard, levels=None, **arrays)


def read_detections(folder: str | Path) -> Detections:
    """Read what was heard in every recording of a folder, with its sub-folders; memory holds one output at a time.

    Parameters
    ----------
    folder : str or Path
        See :func:`read_embeddings`.

    Raises
    ------
    ConfigError
        No output has detections, or there are no outputs.
    ValueError, OSError
        As :func:`read_embeddings`.
    """
    n_outputs, n_without = 0, 0

    def with_detections() -> Iterator[Output]:
        nonlocal n_outputs, n_without
        for output in iter_outputs(folder):
            n_outputs += 1
            if output.detections is None:
                n_without += 1
            else:
                yield output

    found = detections_of(with_detections())
    if not found.provenances:
        raise ConfigError(
            f"no output in {folder} has detections; embed again with --detect THRESHOLD, or make labels of the scores: "
            "sonyc-ml labels"
            if n_outputs
            else f"there are no outputs in {folder}"
        )
    if n_without:
        logger.warning("%d of %d outputs in %s have no detections, and are left out", n_without, n_outputs, folder)
    return found


def iter_outputs(
    folder: str | Path,
    tell: Callable[[str], None] | None = None,
    *,
    nodes: str | Iterable[str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    kinds: Collection[str] | None = None,
) -> Iterator[Output]:
    """Yield the outputs of a folder one after another, in the order of their paths; memory holds a few at a time.

    Those of an archive come node by node and day by day.

    Parameters
    ----------
    folder : str or Path
        See :func:`read_embeddings`.
    tell : callable, optional
        Called with the reason for each file that is left out, because it is damaged or cannot be read, or holds windows
        that another one has; without it the first that is damaged ends the reading, and of the other the log tells.
    nodes, since, until
        See :func:`read_embeddings`; outputs are yielded whole that have a window which is asked for.
    kinds : collection of str, optional
        What is read of an archive's outputs, as in ``scores``; everything where not given.

    Raises
    ------
    ConfigError
        There is no such folder (MissingOutputsError, a FileNotFoundError too), or it holds Parquet and there is no
        pyarrow.
    ValueError, OSError
        An output is damaged, or cannot be read.
    """
    choice = choice_of(nodes, since, until)
    if is_archive(folder):
        from sonyc_ml.outputs.archive.reading import iter_archive  # noqa: PLC0415  most folders are none

        yield from iter_archive(store_at(folder), choice, tell, kinds)
        return
    for output in _iter_folder(Path(folder), tell):
        if choice.has_some_of(output):
            yield output


def is_archive(folder: str | Path) -> bool:
    """Whether outputs lie in folders of nodes or days, or in a store elsewhere: read by the footers of their parts."""
    if is_remote(folder):
        return True
    folders = (path.name for path in Path(folder).glob("*=*") if path.is_dir())
    return any(name.startswith(PARTITIONS) for name in folders)


def _iter_folder(root: Path, tell: Callable[[str], None] | None) -> Iterator[Output]:
    if root.is_file():
        yield from _outputs_in(root)
        return
    if not root.is_dir():
        raise MissingOutputsError(f"{root} does not exist; give a folder of outputs, or one output")
    seen: set[bytes] = set()
    for path in _paths(root):
        try:
            if path.suffix != ".csv" or _begins_as_output(path):
                for output in _outputs_in(path):
                    key = _key(output.provenance)
                    if key not in seen:
                        seen.add(key)
                        yield output
                    elif tell is None:
                        logger.warning("%s", _doubled(output, path))
                    else:
                        tell(_doubled(output, path))
        except (ValueError, OSError) as error:
            if tell is None:
                raise
            tell(str(error))


def output_of_another_format(folder: Path, output_format: str) -> Path | None:
    """An output in a folder that is of another format than this; None where there is none.

    Sub-folders that are the folder of another batch or daemon are not looked into.
    """
    for path in _paths(folder, with_others=False):
        if path.suffix == f".{output_format}":
            continue
        with suppress(OSError):
            if _begins_as_output(path) if path.suffix == ".csv" else path.suffix == ".parquet" or read_provenance(path):
                return path
    return None


def _key(provenance: Provenance) -> bytes:
    """What two outputs have in common that hold the same windows: thousands are kept in mind."""
    parts = (provenance.recording, provenance.recording_sha256, provenance.fingerprint)
    text = "\n".join(parts).encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=16).digest()


def _doubled(output: Output, path: Path) -> str:
    return f"{path} holds the windows of {output.provenance.recording} once more, and is left out"


def _outputs_in(path: Path) -> Iterator[Output]:
    if path.suffix == ".parquet":
        yield from read_part(path)
    else:
        yield read_output(path)


def _paths(root: Path, *, with_others: bool = True) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        if not with_others and STATE_FOLDER in folders and Path(folder) != root:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)


def _begins_as_output(path: Path) -> bool:
    """Whether a csv is an output: other tables may lie beside them."""
    with path.open("rb") as file:
        return file.read(len(BEGINNING_OF_CSV)) == BEGINNING_OF_CSV


def _check_alike(outputs: list[Output], folder: Path) -> None:
    first = outputs[0]
    for output in outputs:
        if _shape(output) != _shape(first):
            raise ConfigError(
                f"{folder} holds outputs that do not go together: {first.provenance.recording} has {_shape(first)}, "
                f"{output.provenance.recording} has {_shape(output)}; embed one of them again, or read them apart"
            )


def _shape(output: Output) -> str:
    return described(output.by_kind(), output.labels)
