"""Which recordings sound like one: the angle between mean embeddings."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from sonyc_ml.base.human import count, iso, span
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.journal.between import Made, find_between
from sonyc_ml.web.clock import short
from sonyc_ml.web.page.links import recording as recording_link
from sonyc_ml.web.pictures.day.maps import kind_of
from sonyc_ml.web.pictures.drawing.figures import Table, csv_parts
from sonyc_ml.web.pictures.jobs import PAGE, LikeJob
from sonyc_ml.web.pictures.recordings.making import find_entry
from sonyc_ml.web.pictures.summaries import Summary, spread

if TYPE_CHECKING:
    from sonyc_ml.base.identity import Identity
    from sonyc_ml.web.pictures.making import Maker

N_SHOWN = 20
COMPARE_S = 1.5  # how long outputs are read that were not before (in seconds)
BEGINNING_S, END_S = -1e12, 1e12


def make_likeness(maker: Maker, job: LikeJob) -> dict[str, bytes]:
    """Return the recordings that sound most like one; see :meth:`sonyc_ml.web.pictures.making.Maker.make`.

    Compared are the mean embeddings of outputs kept here, of the same bundle: those that were read before, and as many
    more, evenly over all, as can be read in :data:`COMPARE_S`.
    """
    with maker.journal() as journal:
        find_entry(journal, job)
        done = [one for one in find_between(journal, BEGINNING_S, END_S) if one.state == "done"]
    own = _own(maker, job)
    assert own.embedding is not None
    others = _others(maker, job, done, own)
    names = {one.identity: one for one in done}
    rows = [_row(names[identity], summary, cosine) for identity, summary, cosine in others[:N_SHOWN]]
    n_all = len(done) - 1
    told = f"Compared with {count(len(others), 'recording')}"
    if len(others) < n_all:
        told += f" of {n_all:,}, evenly over all: no more were read in {span(COMPARE_S)}"
        told += ". Ask again at once, and more are compared"
    table = Table(
        name="like",
        heading=("recording", "begins", "likeness (cosine)", "likeliest class"),
        rows=[(row["name"], row["begins"], row["cosine"], row["kind"]) for row in rows],
    )
    return {PAGE: json.dumps({"rows": rows, "compared": told}).encode(), **csv_parts([table])}


def _own(maker: Maker, job: LikeJob) -> Summary:
    for _, summary in maker.summaries(job.bundle).read([job.identity], time.monotonic()):
        if summary.embedding is not None:
            return summary
    raise ConfigError("there is no embedding of it, so there is nothing to compare")


def _others(maker: Maker, job: LikeJob, done: list[Made], own: Summary) -> list[tuple[Identity, Summary, float]]:
    """The other recordings with their cosines, the most alike first."""
    summaries = maker.summaries(job.bundle)
    in_order = [done[place].identity for place in spread(len(done), len(done))]
    chosen = sorted(in_order, key=lambda identity: identity not in summaries)  # those that are known cost nothing
    until_s = time.monotonic() + COMPARE_S
    found = []
    for identity, summary in summaries.read(chosen, until_s):
        is_alike = summary.bundle_sha256 == own.bundle_sha256 and summary.embedding is not None
        if identity != job.identity and is_alike:
            found.append((identity, summary))
    if not found:
        return []
    embeddings = np.stack([_embedding(summary) for _, summary in found])
    lengths = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(_embedding(own))
    cosines = embeddings @ _embedding(own) / np.maximum(lengths, 1e-12)
    order = np.argsort(-cosines, kind="stable").tolist()
    return [(*found[place], float(cosines[place])) for place in order]


def _embedding(summary: Summary) -> Any:
    return summary.embedding


def _row(one: Made, summary: Summary, cosine: float) -> dict[str, Any]:
    return {
        "name": one.identity.name,
        "link": recording_link(one.identity),
        "begins": short(one.start_s),
        "time": iso(one.start_s),
        "cosine": f"{cosine:.4f}",
        "kind": kind_of(one, summary) if summary.scores is not None else "",
    }
