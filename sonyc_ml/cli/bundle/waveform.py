"""``sonyc-ml bundle make --input-kind waveform``: networks that turn sound into tracks."""

from __future__ import annotations

import argparse
from typing import Any

from sonyc_ml.base.human import names_in
from sonyc_ml.errors import ConfigError, UserMistakes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sonyc_ml.bundles.manifest import Manifest

OK = 0


def add_flags(make: argparse.ArgumentParser) -> None:
    """Add what says how networks turn sound into tracks."""
    flags = make.add_argument_group(
        "of waveform (--duration, --hop-size, --window and --normalise are those of chunks that overlap, for a network "
        "without a state)"
    )
    flags.add_argument("--tracks", metavar="A,B,…", help="names of what comes out, in the order of the outputs")
    flags.add_argument(
        "--between", default="", metavar="dtln or MODULE:NAME", help="what lies between the networks; a class of yours"
    )
    flags.add_argument("--block-length", type=int, metavar="SAMPLES", help="length of a block of a stream")
    flags.add_argument("--block-hop", type=int, metavar="SAMPLES", help="distance between blocks (default: as long)")
    flags.add_argument(
        "--latency", type=int, default=0, metavar="SAMPLES", help="how much later a block's output is (default 0)"
    )
    flags.add_argument(
        "--tolerance-tracks", type=float, metavar="X", help="how far tracks may be off the golden vector"
    )


def make(parsed: argparse.Namespace) -> int:
    """Make the bundle, and show what was taken to be so."""
    from sonyc_ml.authoring.waveform import Recipe, make_waveform_bundle  # noqa: PLC0415  imports numpy

    tracks = names_in(parsed.tracks or "")
    if not tracks:
        raise ConfigError("--tracks is missing: the names of what the networks make of sound, as in --tracks denoised")
    if not hasattr(parsed, "target_sr"):
        raise ConfigError("--target-sr is missing: the networks do not say the rate of the samples that they read")
    with UserMistakes(ValueError, TypeError):
        recipe = Recipe(
            sample_rate=parsed.target_sr,
            tracks=tracks,
            stages=names_in(parsed.stages or ""),
            states=dict(map(_state, parsed.state or ())),
            between=parsed.between,
            block_length=parsed.block_length,
            block_hop=parsed.block_hop,
            latency_length=parsed.latency,
            chunk_s=getattr(parsed, "duration", None),
            hop_s=getattr(parsed, "hop_size", None),
            window=getattr(parsed, "window", "hann"),
            normalise=getattr(parsed, "normalise", "none"),
            res_type=getattr(parsed, "res_type", ""),
            tolerance=parsed.tolerance_tracks,
        )
        manifest = make_waveform_bundle(
            parsed.path,
            recipe,
            version=parsed.version,
            description=parsed.description,
            licence=parsed.licence,
        )
    _show(manifest, parsed)
    return OK


def _show(manifest: Manifest, parsed: argparse.Namespace) -> None:
    section: Any = manifest.waveform
    if not parsed.state:
        for stage in section.stages:
            for state in stage.state:
                print(f"state:   {stage.network}: {state.in_} reads {state.out} of the block before, by their shapes")
    if section.stream:
        how = f"a stream: blocks of {section.stream.block_length} samples every {section.stream.hop_length}"
    else:
        how = f"chunks of {section.overlap.chunk_s:g} s every {section.overlap.hop_s:g} s"
    print(f"reads:   {how} at {manifest.sample_rate} Hz; gives {', '.join(section.tracks)}")
    path = parsed.path.with_suffix(".json")
    print(f"{path}: {manifest.name} {manifest.version}, with the SHA-256 of {', '.join(manifest.files)}")


def _state(text: str) -> tuple[str, str]:
    read, _, written = text.partition("=")
    if not (read and written):
        raise ConfigError(f"--state takes INPUT=OUTPUT, by their names, not {text!r}")
    return read, written
