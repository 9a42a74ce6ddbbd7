"""What the other side of a connection is told, and who it is."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonyc_ml.node.events import OutputPublished


def line_of(said: dict[str, Any]) -> bytes:
    """An answer as a line of JSON."""
    return json.dumps(said).encode() + b"\n"


def described(event: OutputPublished) -> dict[str, Any]:
    """What an answer says of an output, for JSON."""
    said = {
        "recording": event.recording,
        "bundle": event.bundle,
        "output": str(event.output),
        "start_time": event.start_time,
        "duration_s": event.duration_s,
        "hop_size_s": event.hop_size_s,
        "windows": event.n_windows,
    }
    if event.scores:
        said["scores"] = {label: round(score, 4) for label, score in event.scores.items()}
    if event.detections is not None:
        said["detections"] = [
            {"label": one.label, "start_s": one.start_s, "end_s": one.end_s, "score": round(one.score_max, 4)}
            for one in event.detections
        ]
    return said


def peer_of(connection: socket.socket) -> str:
    """Who is at the other end of a Unix socket, in words: process, user and group; else its address."""
    if connection.family == socket.AF_UNIX:
        content = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, gid = (int.from_bytes(content[i : i + 4], "little", signed=True) for i in (0, 4, 8))
        return f"process {pid}, user {uid}, group {gid}"
    host, port = connection.getpeername()[:2]
    return f"{host}:{port}"
