"""A folder of outputs as arrays, whatever they were written as."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError, MissingOutputsError
from sonyc_ml.outputs.detection_table import Detections, detections_of
from sonyc_ml.outputs.files import FORMATS, read_output, read_provenance
from sonyc_ml.outputs.kinds import KINDS
from sonyc_ml.outputs.output import Output, Provenance, describe_arrays
from sonyc_ml.outputs.parquet import read_part

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

STATE_FOLDER = ".sonyc-ml"  # of whoever writes outputs into the folder
BEGINNING_OF_CSV = b"# recording: "
SUFFIXES = (*(f".{name}" for name in FORMATS), ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The windows of many recordings, one row per window, in the order of the recordings.

    Attributes
    ----------
    embedding : np.ndarray [shape=(n_windows, n_dims), dtype=float32] or None
    scores : np.ndarray [shape=(n_windows, n_classes), dtype=float32] or None
    top_classes : np.ndarray [shape=(n_windows, k), dtype=int32] or None
    top_scores : np.ndarray [shape=(n_windows, k), dtype=float32] or None
        Of outputs that keep the highest scores alone; see :class:`~sonyc_ml.outputs.output.Output`.
    detections : Detections or None
        What was heard; None where no output has any. One without counts as one in which nothing was heard, which is
        logged.
    labels : tuple of str
        Of the scores' columns; empty where they have none.
    start_s : np.ndarray [shape=(n_windows,), dtype=float64]
        Where each window begins, in seconds from its recording's first sample.
    time : np.ndarray [shape=(n_windows,), dtype=datetime64[us]]
        When each window begins, in UTC; NaT where nobody knows.
    number : np.ndarray [shape=(n_windows,), dtype=int32]
        Which of `provenances` each window is of.
    provenances : tuple of Provenance
        Of the recordings.
    """

    embedding: npt.NDArray[np.float32] | None = None
    scores: npt.NDArray[np.float32] | None = None
    top_classes: npt.NDArray[np.int32] | None = None
    top_scores: npt.NDArray[np.float32] | None = None
    detections: Detections | None = None
    labels: tuple[str, ...]
    start_s: npt.NDArray[np.float64]
    time: npt.NDArray[np.datetime64]
    number: npt.NDArray[np.int32]
    provenances: tuple[Provenance, ...]

    def __len__(self) -> int:
        return len(self.start_s)

    def __repr__(self) -> str:
        arrays = {name: array for name in KINDS if (array := getattr(self, name)) is not None}
        labels = f" of {len(self.labels)} labels" if self.labels else ""
        described = f"{len(self)} windows{describe_arrays(arrays)}{labels}"
        return f"<Embeddings of {len(self.provenances)} recordings: {described}>"

    @property
    def recording(self) -> npt.NDArray[np.object_]:
        """The name of each window's recording, `(n_windows,)`."""
        names = np.array([provenance.recording for provenance in self.provenances], dtype=object)
        return names[self.number]

    def to_pandas(self) -> pd.DataFrame:
        """Put everything into one table of the package pandas, which is imported only here.

        Returns
        -------
        pandas.DataFrame
            One row per window, with the columns ``recording``, ``time`` (in UTC, NaT where nobody knows), ``start_s``,
            ``embedding_0`` and so on, and one for each score: its label, or ``scores_0`` and so on. A label that is
            also the name of a column before it has ``scores_`` before it, as in ``scores_time``.

        Raises
        ------
        ConfigError
            There is no pandas.
        """
        try:
            import pandas as pd  # noqa: PLC0415  most who read outputs do without
        except ImportError as error:
            raise ConfigError("a table needs pandas: pip install pandas") from error
        columns: dict[str, Any] = {
            "recording": pd.Series(self.recording, dtype=object),
            "time": pd.Series(self.time).dt.tz_localize("UTC"),
            "start_s": self.start_s,
        }
        for name, kind in KINDS.items():
            array = getattr(self, name)
            if array is not None:
                headings = kind.headings(array.shape[1], self.labels)
                named = (f"{name}_{heading}" if heading in columns else heading for heading in headings)
                columns |= dict(zip(named, array.T, strict=True))
        return pd.DataFrame(columns)


def read_embeddings(folder: str | Path) -> Embeddings:
    """Read every output of a folder, with its sub-folders, into memory.

    For what does not fit there, see :func:`iter_outputs`.

    Parameters
    ----------
    folder : str or Path
        Of outputs as ``sonyc-ml embed`` and ``watch`` write them; or one output.

    Raises
    ------
    ConfigError
        There are no outputs, or they do not go together: other widths, other labels.
    ValueError
        An output is damaged; says which.
    OSError
        One cannot be read.
    """
    outputs = list(iter_outputs(folder))
    if not outputs:
        raise ConfigError(f"there are no outputs in {folder}")
    _check_alike(outputs, Path(folder))
    n_without = sum(output.detections is None for output in outputs)
    if 0 < n_without < len(outputs):
        logger.warning(
            "%d of %d outputs in %s have no detections, as if nothing was heard", n_without, len(outputs), folder
        )
    numbers = np.arange(len(outputs), dtype=np.int32)
    kinds: dict[str, Any] = {
        name: np.concatenate([output.by_kind()[name] for output in outputs]) for name in outputs[0].by_kind()
    }
    return Embeddings(
        labels=() if outputs[0].scores is None else outputs[0].labels,
        detections=detections_of(outputs) if n_without < len(outputs) else None,
        start_s=np.concatenate([output.timestamps for output in outputs]),
        time=np.concatenate([output.times() for output in outputs]),
        number=np.repeat(numbers, [len(output.timestamps) for output in outputs]),
        provenances=tuple(output.provenance for output in outputs),
        **kinds,
    )


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


def iter_outputs(folder: str | Path, tell: Callable[[str], None] | None = None) -> Iterator[Output]:
    """Yield the outputs of a folder one after another, in the order of their paths; memory holds a few at a time.

    Parameters
    ----------
    folder : str or Path
        See :func:`read_embeddings`.
    tell : callable, optional
        Called with the reason for each file that is left out, because it is damaged or cannot be read, or holds windows
        that another one has; without it the first that is damaged ends the reading, and of the other the log tells.

    Raises
    ------
    ConfigError
        There is no such folder (MissingOutputsError, a FileNotFoundError too), or it holds Parquet and there is no
        pyarrow.
    ValueError, OSError
        An output is damaged, or cannot be read.
    """
    root = Path(folder)
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
    arrays = output.by_kind()
    parts = [
        kind.describe(arrays.get(name))
        for name, kind in KINDS.items()
        if kind.is_computed or arrays.get(name) is not None
    ]
    named = f" ({', '.join(output.labels)})" if output.labels and output.scores is not None else ""
    return f"{' and '.join(parts)}{named}"
