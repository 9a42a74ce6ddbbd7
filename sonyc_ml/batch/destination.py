"""The outputs of a batch: which are there already, where the next ones go, and what becomes of them."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from sonyc_ml.base.identity import Identity, has_sha256
from sonyc_ml.base.names import checked_name
from sonyc_ml.batch.events import RecordingEmbedded
from sonyc_ml.batch.ledger import Ledger, Origin, Row
from sonyc_ml.batch.places.place import Place, State
from sonyc_ml.outputs.files import read_output, read_provenance
from sonyc_ml.outputs.output import Provenance

BY_ITS_NAME = "."  # the path of an output that lies where its name says


class Destination(Protocol):
    """What a batch asks of the outputs it makes.

    Recordings are numbered in their order. Of each the batch says once what became of it, in whatever order: `find`
    or `take` returned or was given its output, or it was `skip`-ped.
    """

    def find(self, number: int, identity: Identity, recording: str | None = None) -> Row | None:
        """The output of just this recording, made in just this way, if it is there.

        `recording` is its path where it can be read here: with the same bytes and another time it is the same.
        """

    def origin(self, name: str) -> Origin | None:
        """Which recording the output of this name is of, if it is there."""

    @property
    def place(self) -> Place:
        """Where outputs are to be written."""

    def file(self, name: str) -> str:
        """What the output of a recording is called there.

        Raises
        ------
        OutputNameError
        """

    def take(self, number: int, embedded: RecordingEmbedded) -> None:
        """An output was written there."""

    def skip(self, number: int) -> None:
        """There is none."""

    def finish(self) -> None:
        """That was the last one."""


class Files:
    """One file for each recording, npz or csv.

    Parameters
    ----------
    place : Place
    output_format : {"npz", "csv"}
    fingerprint : str
        Of the way they are made; see :class:`sonyc_ml.outputs.output.Provenance`.
    ledger : Ledger
    """

    def __init__(self, place: Place, output_format: str, fingerprint: str, ledger: Ledger) -> None:
        self.place, self._format, self._fingerprint, self._ledger = place, output_format, fingerprint, ledger
        place.clear_up()

    def find(self, number: int, identity: Identity, recording: str | None = None) -> Row | None:  # noqa: ARG002  files have no order
        """See :class:`Destination`."""
        state = self.place.state(self.file(identity.name))
        if state is None:
            return None
        row = self._ledger.get(identity.name)
        if row is None or row.output_state != state:  # a batch that was killed wrote it, or the daemon did
            row = self._row_of_file(identity.name, state)
            if row is None or row.name != identity.name:
                return None
            self._ledger.put(row)
        if row.made_of == (*identity[1:], self._fingerprint):
            return row
        if recording is None or row.made_of != (identity.n_bytes, row.mtime_ns, self._fingerprint):
            return None
        provenance = self._provenance(identity.name)
        if provenance is None or not has_sha256(recording, identity[1:], provenance.recording_sha256):
            return None
        return touched(row, identity, self._ledger)

    def origin(self, name: str) -> Origin | None:
        """See :class:`Destination`."""
        state = self.place.state(self.file(name))
        if state is None:
            return None
        row = self._ledger.get(name)
        if row is not None and row.output_state == state:
            origin = self._ledger.origin(row)
            if origin.source:
                return origin
        provenance = self._provenance(name)  # made by the daemon, or before origins were kept
        if provenance is None:
            return None
        return Origin(
            provenance.recording_bytes,
            provenance.recording_mtime_ns,
            provenance.start_time,
            provenance.recording_sha256,
        )

    def file(self, name: str) -> str:
        """See :class:`Destination`."""
        return output_name(name, self._format)

    def take(self, number: int, embedded: RecordingEmbedded) -> None:  # noqa: ARG002
        """See :class:`Destination`."""
        self.place.note(self.file(embedded.recording), embedded.output_state)
        self._ledger.put(new_row(embedded, self._fingerprint)._replace(path=BY_ITS_NAME))

    def skip(self, number: int) -> None:
        """See :class:`Destination`."""

    def finish(self) -> None:
        """See :class:`Destination`."""
        self.place.clear_up()

    def _row_of_file(self, name: str, state: State) -> Row | None:
        """What a file that is not known holds, if it is a whole output."""
        try:
            with self.place.files([self.file(name)]) as (path,):
                return row_of(read_output(path).provenance, BY_ITS_NAME, "", state)
        except (ValueError, OSError):
            return None

    def _provenance(self, name: str) -> Provenance | None:
        with suppress(OSError), self.place.files([self.file(name)]) as (path,):
            return read_provenance(path)
        return None


def output_name(recording: str, output_format: str) -> str:
    """What the output of a recording is called: ``sub/a.wav.npz``.

    Raises
    ------
    OutputNameError
    """
    return f"{checked_name(recording)}.{output_format}"


def touched(row: Row, identity: Identity, ledger: Ledger) -> Row:
    """Keep that the recording of an output has another time now."""
    row = row._replace(mtime_ns=identity.mtime_ns)
    ledger.put(row)
    return row


def new_row(embedded: RecordingEmbedded, fingerprint: str, partition: str = "") -> Row:
    """An output that has just been made, as one that waits."""
    return Row(
        embedded.recording,
        embedded.n_bytes,
        embedded.mtime_ns,
        fingerprint,
        "",
        "",
        partition,
        embedded.output_bytes,
        embedded.output_mtime_ns,
        embedded.duration_s,
    )


def row_of(provenance: Provenance, path: str, partition: str, state: tuple[int, int]) -> Row:
    """An output that was found at `path`, in this state; as one that waits where the path is empty."""
    return Row(
        provenance.recording,
        provenance.recording_bytes,
        provenance.recording_mtime_ns,
        provenance.fingerprint,
        path,
        "",
        partition,
        *state,
        provenance.duration_s,
    )
