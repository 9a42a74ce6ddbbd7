"""One recording: its sound where it is kept, its pictures, what was heard, its neighbours, and what became of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sonyc_ml.base.identity import Identity
from sonyc_ml.base.names import checked_name
from sonyc_ml.errors import OutputNameError
from sonyc_ml.node.journal.journal import Entry
from sonyc_ml.web.page import links
from sonyc_ml.web.page.pictured import Pictured
from sonyc_ml.web.page.sound import SoundResponse
from sonyc_ml.web.page.visit import PageError, Visit
from sonyc_ml.web.pictures.jobs import PAGE, LikeJob, RecordingJob
from sonyc_ml.web.pictures.recordings.sounds import open_sound

LIKE_S = 10  # how long the answer holds which recordings sound like one: with each, more are compared


class Recording(Pictured):
    """Shows a recording; see :class:`~sonyc_ml.web.page.pictured.Pictured`."""

    def content(self, visit: Visit) -> Mapping[str, Any]:
        """Return what the template ``recording.html`` shows."""
        entry, others = self._entries(visit)
        bundle = self.bundle(visit)
        parts = self.made_for_page(visit, self._job(visit, entry, bundle))
        wants_like = visit.query.text("like") == "1"
        fields = {**_fields(entry.identity), "bundle": bundle or None}
        return {
            "name": entry.identity.name,
            "entry": entry,
            "others": others,
            "bundle": bundle,
            "bundles": self.bundle_names(visit),
            "fields": fields,
            "csv": lambda table: links.address("recording.csv", **fields, table=table),
            "sound": links.address("sound", **_fields(entry.identity)),
            "like_link": links.address("recording", **fields, like=1) + "#like",
            "like": self._like(visit, entry, bundle) if wants_like else None,
            "recording": None if parts is None else json.loads(parts[PAGE]),
        }

    def table(self, visit: Visit) -> Response:
        """Return the numbers behind a picture as a csv: all of them."""
        entry, _ = self._entries(visit)
        if visit.query.text("table") == "like":
            return self.csv(visit, _like_job(visit, entry, self.bundle(visit)), "recording")
        return self.csv(visit, self._job(visit, entry, self.bundle(visit)), "recording")

    def log_mel(self, visit: Visit) -> Response:
        """Return the features as a picture."""
        entry, _ = self._entries(visit)
        return self.part(visit, self._job(visit, entry, self.bundle(visit)), "log-mel.png", "image/png")

    def sound(self, visit: Visit) -> Response:
        """Return the sound: all of it, or the part that is asked for."""
        entry, _ = self._entries(visit)
        descriptor = open_sound(visit.node.config, entry.identity)
        if descriptor is None:
            raise PageError(404, "the sound of this recording is not kept any more, or may not be read")
        return SoundResponse(descriptor, entry.identity, visit.headers)

    def _entries(self, visit: Visit) -> tuple[Entry, list[Entry]]:
        """The recording that an address means, as the journal knows it, and others that had its name."""
        name = visit.query.fields.get("name", "")
        try:
            checked_name(name)
        except OutputNameError as error:
            raise PageError(404, str(error)) from None
        entries = visit.ask(lambda journal: journal.find(name))
        if entries is None:
            raise PageError(503, "; ".join(visit.problems))
        if not visit.query.text("bytes") and not visit.query.text("mtime_ns"):
            chosen = entries[:1]  # the newest of this name
        else:
            wanted = (visit.query.text("bytes"), visit.query.text("mtime_ns"))
            chosen = [one for one in entries if (str(one.identity.n_bytes), str(one.identity.mtime_ns)) == wanted]
        if not chosen:
            raise PageError(404, f"the journal knows no recording {name!r} of this size and time")
        return chosen[0], [one for one in entries if one is not chosen[0]]

    def _job(self, visit: Visit, entry: Entry, bundle: int) -> RecordingJob:
        """What is asked of the process that makes pictures."""
        descriptor = open_sound(visit.node.config, entry.identity)
        if descriptor is not None:
            os.close(descriptor)
        stamp = f"{entry.state} {entry.changed_s} {entry.fate} {descriptor is not None}"
        if entry.state == "pending":  # how it waits changes without a change of its own
            stamp += f" {visit.now_s:.0f}"
        return RecordingJob(**_plain(entry.identity), bundle=bundle, stamp=stamp)

    def _like(self, visit: Visit, entry: Entry, bundle: int) -> Any:
        """Which recordings sound like it; None where that cannot be said, and then the page says why."""
        parts = self.made_for_page(visit, _like_job(visit, entry, bundle))
        return None if parts is None else json.loads(parts[PAGE])


def _like_job(visit: Visit, entry: Entry, bundle: int) -> LikeJob:
    return LikeJob(**_plain(entry.identity), bundle=bundle, stamp=f"{visit.now_s // LIKE_S:.0f}")


def _plain(identity: Identity) -> dict[str, Any]:
    return {"name": identity.name, "n_bytes": identity.n_bytes, "mtime_ns": identity.mtime_ns}


def _fields(identity: Identity) -> dict[str, object]:
    return {"name": identity.name, "bytes": identity.n_bytes, "mtime_ns": identity.mtime_ns}
