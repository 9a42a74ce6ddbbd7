"""``sonyc-ml serve``: arguments and configuration to a service."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import add_command, add_trust_owner
from sonyc_ml.cli.watch import log_to_stderr

if TYPE_CHECKING:
    from sonyc_ml.node.operate.serve_config import ServeConfig
    from sonyc_ml.web.page.node import Node

EPILOG = """\
examples:
  sonyc-ml serve
  sonyc-ml serve --config /etc/sonyc-ml/sonyc-ml.toml --port 8081
  sonyc-ml serve --model models/NAME.tflite
  curl --data-binary @a.wav -H 'Content-Type: audio/wav' http://127.0.0.1:8080/predict

With a configuration: the page of that node, and predictions by its bundles ([serve] says more). Without --config and
--model, the configuration is the one that $SONYC_ML_CONFIG names, else $XDG_CONFIG_HOME/sonyc-ml/sonyc-ml.toml, else
/etc/sonyc-ml/sonyc-ml.toml. With --model alone: predictions, and no page. With none of them: predictions by the
bundle that comes with sonyc-ml.

It listens on this machine alone; whoever wants it wider puts a proxy in front. AIP_HTTP_PORT, AIP_PREDICT_ROUTE and
AIP_HEALTH_ROUTE, as a serving platform sets them, win over flags, and open it to the platform's network.
Exit status: 0 ended by a signal, 2 it could not start."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``serve`` to a parser's commands."""
    parser = add_command(commands, "serve", _run, texts["serve"], EPILOG)
    parser.add_argument("--config", type=Path, metavar="FILE", help="the daemon's TOML file: its node gets a page")
    parser.add_argument(
        "--model",
        action="append",
        type=Path,
        metavar="NAME.tflite",
        help="the network; its manifest is NAME.json. Repeated for several: a request names one, or means the first "
        "(default: those of the configuration)",
    )
    parser.add_argument("--port", type=int, help="of 127.0.0.1 (default 8080; 0: any that is free)")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="a Unix socket instead of a port")
    _add_work(parser.add_argument_group("work"))
    trust = parser.add_argument_group("trust")
    trust.add_argument(
        "--trusted-keys", type=Path, metavar="FILE", help="load only bundles signed by one of these keys"
    )
    add_trust_owner(trust)


def _add_work(work: Any) -> None:
    work.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads with networks of their own (default: processors; with a configuration, what it says, or 1)",
    )
    work.add_argument("--waiting", type=int, default=32, metavar="N", help="requests that may wait (default 32)")
    work.add_argument("--max-bytes", type=int, default=64 << 20, metavar="N", help="of a request (default 64 MiB)")
    work.add_argument(
        "--max-answer-bytes", type=int, default=64 << 20, metavar="N", help="of an answer's arrays (default 64 MiB)"
    )
    work.add_argument(
        "--max-duration", type=float, default=600.0, metavar="SECONDS", help="of the sound in a request (default 600)"
    )
    work.add_argument(
        "--patience",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="that a client has to send the headers of a request, and then its body (default 30)",
    )
    work.add_argument(
        "--cache-bytes",
        type=int,
        default=16 << 20,
        metavar="N",
        help="of outputs kept in memory, so that the same sound is not computed again (default 16 MiB; 0: none)",
    )
    work.add_argument("--verbose", action="store_true", help="log one line per request")


def _run(parsed: argparse.Namespace) -> int:
    from sonyc_ml.base.human import to_install  # noqa: PLC0415
    from sonyc_ml.cli import OK  # noqa: PLC0415
    from sonyc_ml.errors import ConfigError  # noqa: PLC0415

    try:
        from sonyc_ml.web.server import serve  # noqa: PLC0415  imports uvicorn

        if parsed.config:
            import sonyc_ml.web.page.frame  # noqa: F401, PLC0415  and this one Jinja2
    except ModuleNotFoundError as error:
        raise ConfigError(f"serve needs {error.name}; {to_install('serve')}") from error
    from sonyc_ml.web.settings import ServeSettings, address_of, usual_workers  # noqa: PLC0415

    log_to_stderr(verbose=parsed.verbose)
    node = _node(parsed)
    said = node.config.serve if node else None
    settings = ServeSettings(
        **{
            **_place(parsed, said),
            "n_workers": parsed.workers or (said.workers if said else usual_workers()),
            "n_waiting": parsed.waiting,
            "max_request_bytes": parsed.max_bytes,
            "max_answer_bytes": parsed.max_answer_bytes,
            "max_duration_s": parsed.max_duration,
            "body_s": parsed.patience,
            "cache_bytes": max(parsed.cache_bytes, 0),
            **address_of(os.environ),
        }
    )
    serve(settings, _models(parsed, node), node)
    return OK


def _node(parsed: argparse.Namespace) -> Node | None:
    """The node whose page is wanted."""
    if parsed.config is None and parsed.model:
        return None
    from sonyc_ml.node.config_file import find_config  # noqa: PLC0415
    from sonyc_ml.web.page.node import Node  # noqa: PLC0415

    path = parsed.config or find_config()
    return Node.of(path) if path else None


def _place(parsed: argparse.Namespace, said: ServeConfig | None) -> dict[str, Any]:
    """Where it listens: as flags say, else as the configuration does."""
    if parsed.port is not None or parsed.socket is not None:
        return {"port": parsed.port or 0, "socket": parsed.socket}
    return {"port": said.port, "socket": said.socket} if said else {}


def _models(parsed: argparse.Namespace, node: Node | None) -> dict[Path, dict[str, Any]]:
    """Keywords of the models that predict, by their paths."""
    if parsed.model or node is None:
        keywords = {"trusted_keys": parsed.trusted_keys, "trust_owners": parsed.trust_owners or ()}
        return dict.fromkeys(parsed.model or [_default()], keywords)
    if not node.config.serve.predict:
        return {}
    return {one.path: one.parameters() for one in node.config.model}


def _default() -> Path:
    """The default bundle, said."""
    import logging  # noqa: PLC0415

    from sonyc_ml.bundles.location import default_bundle  # noqa: PLC0415

    path = default_bundle()
    logging.getLogger(__name__).info("no configuration and no --model: the default bundle, %s", path.stem)
    return path
