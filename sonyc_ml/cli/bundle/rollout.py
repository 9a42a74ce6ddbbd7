"""``sonyc-ml bundle rollout``, ``pull`` and ``rollback``: their flags, and what they say."""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from sonyc_ml.base.human import SECONDS, count, iso, moment, names_in, size, span
from sonyc_ml.errors import ConfigError, StoreError, UserMistakes

if TYPE_CHECKING:
    from sonyc_ml.bundles.rollout.document import Rollout
    from sonyc_ml.bundles.rollout.store import BundleStore
    from sonyc_ml.bundles.rollout.writing import Wishes
    from sonyc_ml.node.rollout.run import Looked

OK, ATTENTION = 0, 1
DAY_S = 86400.0
WRITE_EPILOG = """\
examples:
  sonyc-ml bundle rollout models/NAME.tflite --to s3://bucket/bundles/NAME --key bundle-key --nodes 'pole_1*'
  sonyc-ml bundle rollout --to s3://bucket/bundles/NAME --key bundle-key --share 0.5
  sonyc-ml bundle rollout --to s3://bucket/bundles/NAME --key bundle-key --stop
  sonyc-ml bundle rollout --to s3://bucket/bundles/NAME --key bundle-key --dry-run --fleet s3://bucket/archive

Puts a signed bundle into a store, and signs which nodes take it. Without NAME.tflite, the rollout that is there goes
on: with other nodes, or renewed before it expires. Nodes that are not chosen run what all of them ran before, or stay
as they are. Nodes have the address as source, and the public key among trusted_keys, in [model]."""
PULL_EPILOG = """\
examples:
  sonyc-ml bundle pull --config /etc/sonyc-ml/sonyc-ml.toml

Looks once at the source of each [model] that has one, and ends; sonyc-ml-pull.timer, or cron, starts it again. Exit
status: 0 all is well, 1 something was refused, has expired or could not be fetched, 2 it cannot say."""
BACK_EPILOG = """\
examples:
  sudo -u sonyc-ml sonyc-ml bundle rollback --config /etc/sonyc-ml/sonyc-ml.toml --why "hears sirens in rain"

The version that runs now is not tried again, until a rollout names another, or `bundle pull --again`."""


def add_commands(actions: Any) -> None:
    """Add the three to ``bundle``."""
    _add_rollout(
        _add(actions, "rollout", _rollout, "put a bundle into a store, and sign which nodes take it", WRITE_EPILOG)
    )
    pull = _add(actions, "pull", _pull, "look for a new bundle in the store, and switch to it", PULL_EPILOG)
    _add_config(pull)
    pull.add_argument("--again", action="store_true", help="try what was refused here before")
    pull.add_argument(
        "--timeout", type=float, default=1800.0, metavar="SECONDS", help="give up after so long (default 1800)"
    )
    back = _add(actions, "rollback", _roll_back, "go back to the bundle before the one that runs", BACK_EPILOG)
    back.add_argument("name", nargs="?", default="", metavar="NAME", help="of the bundle, where several have a source")
    _add_config(back)
    back.add_argument("--why", default="", metavar="TEXT", help="the reason, for whoever looks")


def _add(
    actions: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the daemon's configuration (default: this machine's)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_rollout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", type=Path, metavar="NAME.tflite", help="the bundle that is rolled out, signed"
    )
    parser.add_argument(
        "--to", required=True, metavar="ADDRESS", help="of the bundle's folder, as nodes have it in source"
    )
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help="private key, as ssh-keygen makes it")
    parser.add_argument(
        "--trusted-keys",
        type=Path,
        metavar="FILE",
        help="public keys of which one has signed the rollout that is there (default: the key's own, FILE.pub)",
    )
    parser.add_argument("--nodes", metavar="A,B,… or FILE", help="names of the nodes, or patterns as in 'pole_*'")
    parser.add_argument("--share", type=float, metavar="X", help="the share of these nodes that take it, from 0 to 1")
    parser.add_argument("--not-before", metavar="TIME", help="nodes switch from this time on")
    parser.add_argument("--not-after", metavar="TIME", help="nodes that have not switched by then stay as they are")
    parser.add_argument(
        "--expires", default="30d", metavar="SPAN", help="how long nodes act on it, if it is not renewed (default 30d)"
    )
    parser.add_argument("--back", action="store_true", help="nodes may go back to an older version by it")
    parser.add_argument("--stop", action="store_true", help="no more node takes it, and those that have it go back")
    parser.add_argument("--sequence", type=int, metavar="N", help="its number, if the one that is there is damaged")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be signed, and which nodes take it")
    parser.add_argument(
        "--fleet",
        metavar="FILE or ADDRESS",
        help="names of the nodes that there are, one per line, or an archive of them: says which of them take it",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


# Signing


def _rollout(parsed: argparse.Namespace) -> int:
    from sonyc_ml.bundles.rollout.store import BundleStore, check_source  # noqa: PLC0415
    from sonyc_ml.bundles.rollout.writing import next_rollout, publish, read_rollout, read_target  # noqa: PLC0415

    with UserMistakes(ValueError):
        check_source(parsed.to)
    store, key, now_s = BundleStore(parsed.to), parsed.key.expanduser(), time.time()
    keys = parsed.trusted_keys or key.with_name(f"{key.name.removesuffix('.pub')}.pub")
    before = None if parsed.sequence else read_rollout(store, keys)
    name, target = before.name if before else "", None
    files: dict[str, bytes] = {}
    if parsed.path is not None:
        name, target, files = read_target(parsed.path)
    rollout = next_rollout(name, target, before, _wishes(parsed, now_s), now_s)
    names = _fleet(parsed.fleet) if parsed.fleet else ()
    if not parsed.dry_run:
        publish(store, rollout, key, files)
    _show_rollout(parsed, rollout, names, store)
    return OK


def _wishes(parsed: argparse.Namespace, now_s: float) -> Wishes:
    from sonyc_ml.bundles.rollout.writing import Wishes  # noqa: PLC0415

    if parsed.stop and (parsed.share is not None or parsed.path is not None):
        raise ConfigError(
            "--stop is of the rollout that is there, for all of its nodes: give neither bundle nor --share"
        )
    with UserMistakes(ValueError, where="--nodes: "):
        nodes = names_in(parsed.nodes) if parsed.nodes is not None else None
    return Wishes(
        nodes=nodes,
        share=parsed.share,
        not_before=_time("--not-before", parsed.not_before, now_s),
        not_after=_time("--not-after", parsed.not_after, now_s),
        back=parsed.back,
        stop=parsed.stop,
        valid_s=_seconds("--expires", parsed.expires),
        sequence=parsed.sequence,
    )


def _time(flag: str, text: str | None, now_s: float) -> str | None:
    if not text:  # an empty one takes it back
        return text
    with UserMistakes(ValueError, where=f"{flag}: "):
        return iso(moment(text, now_s))


def _seconds(flag: str, text: str) -> float:
    """A span of time as a user types it: ``30d``, ``12h``."""
    number, unit = text.rstrip("smindhw"), text[len(text.rstrip("smindhw")) :]
    try:
        seconds = float(number) * SECONDS[unit]
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{flag} takes how long, as in 12h, 30d or 8w, not {text!r}") from error
    if not 0 < seconds < 3650 * DAY_S:
        raise ConfigError(f"{flag} must be between nothing and ten years, not {text}")
    return seconds


def _fleet(source: str) -> Sequence[str]:
    """The names of all nodes: of a file with one per line, or of the folders ``node=NAME`` of an archive."""
    if "://" not in source:
        path = Path(source)
        if path.is_file():
            with UserMistakes(ValueError, OSError, where="--fleet: "):
                return names_in(source)
        source = path.absolute().as_uri()
    from sonyc_ml.bundles.rollout.store import BundleStore  # noqa: PLC0415

    names = [one.removeprefix("node=") for one in BundleStore(source).folders() if one.startswith("node=")]
    if not names:
        raise ConfigError(f"--fleet {source} is neither a file of names nor an archive with folders node=NAME")
    return sorted(names)


def _show_rollout(parsed: argparse.Namespace, rollout: Rollout, names: Sequence[str], store: BundleStore) -> None:
    taking = [name for name in names if rollout.chooses(name)]
    if parsed.json:
        fleet = {"fleet": len(names), "takes": taking} if parsed.fleet else {}
        print(json.dumps({"rollout": json.loads(rollout.text()), "signed": not parsed.dry_run, **fleet}))
        return
    chosen = f"nodes {', '.join(rollout.nodes)}" if rollout.nodes else "all nodes"
    share = "" if rollout.share == 1 else f"{rollout.share:.4g} of "
    otherwise = f"run {rollout.otherwise.version}" if rollout.otherwise else "stay as they are"
    print(f"{'would sign' if parsed.dry_run else 'signed'}: {store.source}/rollout.json, number {rollout.sequence}")
    print(f"bundle:  {rollout.name} {rollout.target.version}, {size(rollout.target.n_bytes)}")
    print(f"takes:   {share}{chosen}; the others {otherwise}{'; nodes may go back' if rollout.back else ''}")
    if rollout.not_before or rollout.not_after:
        print(f"switch:  {rollout.not_before or 'now'} to {rollout.not_after or 'any time'}")
    print(f"expires: {rollout.expires}, if it is not renewed")
    if parsed.fleet:
        print(f"of {count(len(names), 'node')}, {len(taking):,} take it{': ' if taking else ''}{', '.join(taking)}")


# On a node


def _pull(parsed: argparse.Namespace) -> int:
    from sonyc_ml.node.config import load_config  # noqa: PLC0415
    from sonyc_ml.node.rollout.run import pull  # noqa: PLC0415

    path = _config(parsed)
    with _at_most(parsed.timeout):
        looked = pull(load_config(path, {}), path, again=parsed.again)
    return _show(parsed, looked)


def _roll_back(parsed: argparse.Namespace) -> int:
    from sonyc_ml.node.config import load_config  # noqa: PLC0415
    from sonyc_ml.node.rollout.run import roll_back  # noqa: PLC0415

    why = "by a person" + (f": {parsed.why}" if parsed.why else "")
    _show(parsed, roll_back(load_config(_config(parsed), {}), parsed.name, why))
    return OK


def _config(parsed: argparse.Namespace) -> Path:
    from sonyc_ml.node.config_file import usual_config  # noqa: PLC0415

    path: Path = parsed.config or usual_config("--config FILE")
    return path.absolute()


def _show(parsed: argparse.Namespace, looked: Sequence[Looked]) -> int:
    from sonyc_ml.bundles.rollout.record import EXPIRED, FAILED, REFUSED  # noqa: PLC0415

    for one in looked:
        answer = {"bundle": one.name, "state": one.word, "detail": one.detail}
        print(json.dumps(answer) if parsed.json else f"{one.name}: {one.word}: {one.detail}", flush=True)
    return ATTENTION if any(one.word in (EXPIRED, FAILED, REFUSED) for one in looked) else OK


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """End what takes longer: a store that answers byte by byte must not hold up the next look."""
    if not seconds > 0:
        raise ConfigError(f"--timeout must be above 0, and is {seconds:g}")

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise StoreError(f"it took longer than {span(seconds)}, and was given up; what runs, runs on")

    before = signal.signal(signal.SIGALRM, give_up)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
