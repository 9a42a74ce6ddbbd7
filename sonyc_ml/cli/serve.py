"""``sonyc-ml serve``: arguments to a service."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.cli.flags import add_command, add_trust_owner
from sonyc_ml.cli.watch import log_to_stderr

EPILOG = """\
examples:
  sonyc-ml serve --model models/NAME.tflite
  curl --data-binary @a.wav -H 'Content-Type: audio/wav' http://127.0.0.1:8080/predict

It listens on this machine alone; whoever wants it wider puts a proxy in front. AIP_HTTP_PORT, AIP_PREDICT_ROUTE and
AIP_HEALTH_ROUTE, as a serving platform sets them, win over flags, and open it to the platform's network.
Exit status: 0 ended by a signal, 2 it could not start."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``serve`` to a parser's commands."""
    parser = add_command(commands, "serve", _run, texts["serve"], EPILOG)
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        type=Path,
        metavar="NAME.tflite",
        help="the network; its manifest is NAME.json. Repeated for several: a request names one, or means the first",
    )
    parser.add_argument("--port", type=int, default=8080, help="of 127.0.0.1 (default 8080; 0: any that is free)")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="a Unix socket instead of a port")
    work = parser.add_argument_group("work")
    work.add_argument(
        "--workers", type=int, metavar="N", help="threads with networks of their own (default: processors)"
    )
    work.add_argument("--waiting", type=int, default=32, metavar="N", help="requests that may wait (default 32)")
    work.add_argument("--max-bytes", type=int, default=64 << 20, metavar="N", help="of a request (default 64 MiB)")
    work.add_argument(
        "--max-duration", type=float, default=600.0, metavar="SECONDS", help="of the sound in a request (default 600)"
    )
    work.add_argument(
        "--cache-bytes",
        type=int,
        default=16 << 20,
        metavar="N",
        help="of outputs kept in memory, so that the same sound is not computed again (default 16 MiB; 0: none)",
    )
    work.add_argument("--verbose", action="store_true", help="log one line per request")
    trust = parser.add_argument_group("trust")
    trust.add_argument(
        "--trusted-keys", type=Path, metavar="FILE", help="load only bundles signed by one of these keys"
    )
    add_trust_owner(trust)


def _run(parsed: argparse.Namespace) -> int:
    from sonyc_ml.cli import OK  # noqa: PLC0415
    from sonyc_ml.errors import ConfigError  # noqa: PLC0415

    try:
        from sonyc_ml.web.server import serve  # noqa: PLC0415  imports numpy
    except ModuleNotFoundError as error:
        raise ConfigError(f"serve needs {error.name}: pip install 'sonyc-ml[serve]'") from error
    from sonyc_ml.web.settings import ServeSettings, address_of, usual_workers  # noqa: PLC0415

    log_to_stderr(verbose=parsed.verbose)
    settings = ServeSettings(
        **{
            "port": parsed.port,
            "socket": parsed.socket,
            "n_workers": parsed.workers or usual_workers(),
            "n_waiting": parsed.waiting,
            "max_request_bytes": parsed.max_bytes,
            "max_duration_s": parsed.max_duration,
            "cache_bytes": max(parsed.cache_bytes, 0),
            **address_of(os.environ),
        }
    )
    keywords = {"trusted_keys": parsed.trusted_keys, "trust_owners": parsed.trust_owners or ()}
    serve(settings, dict.fromkeys(parsed.model, keywords))
    return OK
