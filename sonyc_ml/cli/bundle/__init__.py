"""``sonyc-ml bundle …``: make, trust, sign, verify and show bundles."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonyc_ml.authoring.parameters import add_parameters, given_parameters
from sonyc_ml.base.human import names_in, shown
from sonyc_ml.cli.bundle import publish, quantise, rollout, waveform
from sonyc_ml.cli.flags import (
    add_keep_flags,
    add_network_flags,
    add_trust_owner,
    keep_parameters,
    parse_constants,
    parse_outputs,
    parse_thresholds,
    until_reader_leaves,
)
from sonyc_ml.errors import ConfigError, SonycMLWarning, UserMistakes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sonyc_ml.bundles.manifest import Manifest

OK = 0

EPILOG = """\
examples:
  sonyc-ml bundle make models/NAME.tflite --version 1.0.0 --licence CC0-1.0
  sonyc-ml bundle make models/yamnet.tflite --input-kind pcm --target-sr 16000 --outputs scores=0
  sonyc-ml bundle make models/NAME.tflite --head mlp_ust.tflite --labels engine,dog,music
  sonyc-ml bundle make models/dtln.tflite --input-kind waveform --stages dtln_2.tflite --between dtln --target-sr 16000
  sonyc-ml bundle quantise models/NAME.tflite --recordings labelled/ --recipe int8
  sonyc-ml bundle publish models/NAME.tflite folder/ --hub-id OWNER/NAME
  sonyc-ml bundle sign models/NAME.tflite --key ~/.ssh/id_ed25519
  sonyc-ml bundle verify models/NAME.tflite --trusted-keys trusted_keys
  sonyc-ml bundle rollout models/NAME.tflite --to s3://bucket/bundles/NAME --key ~/.ssh/id_ed25519 --share 0.1
  sonyc-ml bundle pull --config sonyc-ml.toml

A bundle is NAME.tflite with its manifest NAME.json, which holds the SHA-256 of every file, and a golden vector that
proves the numbers on any machine. A pickle or class that was not made on this machine runs only after `bundle trust`
(as root: for every user and service of the machine), or where the manifest is signed by a trusted key."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``bundle`` to a parser's commands."""
    parser = commands.add_parser(
        "bundle",
        help=texts["bundle"],
        description=f"{texts['bundle'].capitalize()}.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_make(actions)
    _add(actions, "trust", _trust, "accept the files as they are now, and let their code run")
    quantise.add_flags(
        _add(actions, "quantise", quantise.run, "make a smaller bundle of a float32 one, and measure what it loses")
    )
    publish.add_flags(_add(actions, "publish", publish.run, "write a folder that the hub takes; uploads nothing"))
    sign = _add(actions, "sign", _sign, "sign the manifest with an OpenSSH key (Ed25519)")
    sign.add_argument("--key", required=True, type=Path, metavar="FILE", help="private key, as ssh-keygen makes it")
    verify = _add(actions, "verify", _verify, "check owners, modes, digests, signature and golden vector")
    verify.add_argument("--trusted-keys", type=Path, metavar="FILE", help="public keys, one per line")
    add_trust_owner(verify)
    verify.add_argument("--json", action="store_true", help="for programs")
    rollout.add_commands(actions)
    info = _add(actions, "info", _info, "show the manifest as a card")
    info.add_argument("--json", action="store_true", help="for programs")


def _add_make(actions: Any) -> None:
    make = _add(actions, "make", _make, "write the manifest and the golden vector; runs the extractor")
    make.add_argument("--version", default="1.0.0", metavar="X.Y.Z", help="of the bundle (default 1.0.0)")
    make.add_argument("--description", default="", metavar="TEXT", help="what it is")
    make.add_argument("--licence", default="", metavar="NAME", help="of the network")
    make.add_argument("--metadata", type=Path, metavar="FILE", help="Audacity's, as in its metadata.json")
    make.add_argument("--head", default="", metavar="FILE", help="network that reads the embedding, in the same folder")
    make.add_argument(
        "--head-embeddings", type=int, metavar="N", help="how many the head reads, the latest (default 1)"
    )
    make.add_argument("--stages", metavar="FILE,…", help="networks in the same folder that follow it, in their order")
    make.add_argument("--labels", default="", metavar="A,B,… or FILE", help="of the scores; a file has one per line")
    make.add_argument("--outputs", default="", metavar="KIND=N,…", help="which output is which: scores=0,embedding=1")
    make.add_argument(
        "--input-kind",
        choices=("pickled", "log_mel", "pcm", "waveform"),
        help="what the network reads (default: NAME.pkl, if there); waveform: sound, which it turns into tracks",
    )
    add_network_flags(make)
    make.add_argument(
        "--state",
        action="append",
        metavar="INPUT=OUTPUT",
        help="an input that holds what an output gave for the window before, by name or number; may be repeated "
        "(of waveform, where it is not given: by their shapes)",
    )
    make.add_argument(
        "--n-channels", type=int, metavar="N", help="how many channels it reads as they are (default: the mean of all)"
    )
    add_parameters(make)
    for flag, text in (
        ("--tolerance-db", "how far features may be off the golden vector (default 0.005)"),
        ("--tolerance-cosine", "lowest cosine to a golden embedding (default 0.9997)"),
        ("--tolerance-scores", "how far scores may be off (default 0.05)"),
    ):
        make.add_argument(flag, type=float, metavar="X", help=text)
    waveform.add_flags(make)
    _add_detections(make)


def _add_detections(make: argparse.ArgumentParser) -> None:
    flags = make.add_argument_group("detections, and what outputs keep")
    flags.add_argument(
        "--threshold",
        metavar="X,LABEL=X,…",
        help="detect classes from this score on, and single classes from their own (default: no detections)",
    )
    flags.add_argument(
        "--location", default="", metavar="FILE", help="network that knows which classes are expected where, and when"
    )
    flags.add_argument("--location-threshold", type=float, metavar="X", help="from which value on (default 0.03)")
    flags.add_argument("--classes", default="", metavar="A,B,… or FILE", help="only these; a file has one per line")
    flags.add_argument("--detect-top-k", type=int, metavar="K", help="only the K highest classes of each window")
    flags.add_argument("--merge", type=float, metavar="SECONDS", help="merge detections no further apart (default 0)")
    flags.add_argument("--no-merge", action="store_true", help="each window is a detection of its own")
    flags.add_argument("--min-duration", type=float, metavar="SECONDS", help="leave out shorter ones (default 0)")
    flags.add_argument(
        "--cool-down", type=float, metavar="SECONDS", help="leave out those that follow sooner (default 0)"
    )
    add_keep_flags(flags)


def _detections(parsed: argparse.Namespace) -> dict[str, Any]:
    """What the flags say of detections, by the keys of the manifest."""
    found = parse_thresholds(parsed.threshold, "--threshold") if parsed.threshold is not None else {}
    if parsed.no_merge and parsed.merge is not None:
        raise ConfigError("--merge and --no-merge exclude each other; give one of them")
    given = {
        "classes": names_in(parsed.classes) or None,
        "top_k": parsed.detect_top_k,
        "merge_s": False if parsed.no_merge else parsed.merge,
        "min_duration_s": parsed.min_duration,
        "cool_down_s": parsed.cool_down,
    }
    return found | {name: value for name, value in given.items() if value is not None}


def _add(actions: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("path", type=Path, metavar="NAME.tflite")
    parser.set_defaults(run=run)
    return parser


def _make(parsed: argparse.Namespace) -> int:
    from sonyc_ml.authoring.hub import add_metadata, read_metadata  # noqa: PLC0415  imports numpy
    from sonyc_ml.authoring.make import make_bundle  # noqa: PLC0415

    metadata = read_metadata(parsed.metadata) if parsed.metadata else None
    if parsed.input_kind == "waveform":
        status = waveform.make(parsed)
        if metadata is not None:
            add_metadata(parsed.path, metadata)
        return status
    tolerances = {
        "features_db": parsed.tolerance_db,
        "cosine": parsed.tolerance_cosine,
        "scores": parsed.tolerance_scores,
    }
    with UserMistakes(ValueError, TypeError), _warnings_as_lines():
        manifest = make_bundle(
            parsed.path,
            version=parsed.version,
            description=parsed.description,
            licence=parsed.licence,
            input_kind=parsed.input_kind,
            outputs=parse_outputs(parsed.outputs) if parsed.outputs else None,
            stages=names_in(parsed.stages or ""),
            head=parsed.head,
            head_embeddings=parsed.head_embeddings,
            location=parsed.location,
            location_threshold=parsed.location_threshold,
            labels=names_in(parsed.labels),
            constants=parse_constants(parsed.constants or ()),
            state=[_parse_state(text) for text in parsed.state or ()],
            activation=parsed.activation or "",
            sensitivity=parsed.sensitivity,
            tolerances={name: value for name, value in tolerances.items() if value is not None},
            detections=_detections(parsed),
            keep=keep_parameters(parsed),
            **given_parameters(parsed),
            **({"n_channels": parsed.n_channels} if parsed.n_channels else {}),
        )
        if metadata is not None:
            add_metadata(parsed.path.with_name(f"{manifest.name}.tflite"), metadata)
    _show_made(parsed, manifest)
    return OK


def _show_made(parsed: argparse.Namespace, manifest: Manifest) -> None:
    path = parsed.path.with_name(f"{manifest.name}.json")
    if manifest.name != parsed.path.stem:
        rest = f"; {manifest.head.network} is the rest of it" if manifest.head and not parsed.head else ""
        print(f"cut:     {manifest.name}.tflite is {parsed.path.name} with that embedding{rest}")
    if parsed.input_kind is None and manifest.input.kind != "pickled":
        print(f"reads:   {manifest.input.kind}, by the shape of its input; if that is wrong, give --input-kind")
    chosen = {**manifest.input.parameters, "hop_size": manifest.hop_size_s}
    chosen = {name: value for name, value in chosen.items() if name not in parsed}
    if manifest.input.kind != "pickled":
        print(f"chosen:  {', '.join(f'{name}={value}' for name, value in chosen.items())}")
    print(f"{path}: {manifest.name} {manifest.version}, with the SHA-256 of {_listing(manifest.files)}")


def _parse_state(text: str) -> tuple[str, str]:
    source, _, target = text.partition("=")
    if not (source and target):
        raise ConfigError(f"--state takes INPUT=OUTPUT, by name or number, not {text!r}")
    return source, target


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Say our own warnings as the command says errors, without the line of code that Python would show."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", SonycMLWarning)
        show = warnings.showwarning

        def say(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, SonycMLWarning):
                print(f"sonyc-ml: warning: {shown(str(message))}", file=sys.stderr)
            else:
                show(message, category, *where, **more)

        warnings.showwarning = say
        yield


def _trust(parsed: argparse.Namespace) -> int:
    from sonyc_ml.authoring.make import accept_files  # noqa: PLC0415

    with _warnings_as_lines():
        trusted = accept_files(parsed.path)
    for name, digest in trusted.manifest.files.items():
        print(f"{digest}  {name}")
    manifest = parsed.path.with_suffix(".json")
    if trusted.was_written:
        print(f"trusted: {manifest} holds their SHA-256 now; if it was signed, sign it again")
    else:
        print(f"trusted: {manifest} held their SHA-256 already")
    for what in trusted.code:
        print(f"may run: {what}, by {trusted.record}")
    return OK


def _sign(parsed: argparse.Namespace) -> int:
    from sonyc_ml.bundles.integrity import make_signature  # noqa: PLC0415

    print(f"signed: {make_signature(parsed.path.with_suffix('.json'), parsed.key.expanduser())}")
    return OK


def _verify(parsed: argparse.Namespace) -> int:
    from sonyc_ml.authoring.make import verify  # noqa: PLC0415

    with UserMistakes(ValueError):
        bundle, differences = verify(parsed.path, parsed.trusted_keys, parsed.trust_owners or ())
    if parsed.json:
        print(json.dumps({"bundle": bundle.name, "sha256": bundle.sha256, "golden": differences}))
        return OK
    assert bundle.manifest is not None  # the golden vector is in it
    print(f"{bundle.name} {bundle.manifest.version}, SHA-256 {bundle.sha256}")
    print(f"files:   {_listing(bundle.files)} are those of the manifest")
    print(f"signed:  {'by a trusted key' if parsed.trusted_keys else 'not asked; give --trusted-keys'}")
    print(f"golden:  {', '.join(f'{name} {value:.6g}' for name, value in differences.items())}, within tolerance")
    return OK


def _info(parsed: argparse.Namespace) -> int:
    from sonyc_ml.authoring.describe import card  # noqa: PLC0415

    text, table = card(parsed.path)
    with until_reader_leaves():
        print(json.dumps(table, indent=2) if parsed.json else text, flush=True)
    return OK


def _listing(names: Any) -> str:
    return ", ".join(names)
