"""Checks of bundles: whole, trusted, quick kernels, right numbers, fast enough."""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sonyc_ml.bundles.bundle import read_bundle
from sonyc_ml.bundles.integrity import quoted
from sonyc_ml.errors import BundleMismatchError, SonycMLError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import RUNNING, check_golden, make_described
from sonyc_ml.node.config import ModelConfig
from sonyc_ml.node.doctor.machine import BAD, OK, SKIPPED, WARN, Finding

SAMPLE_RATE, DURATION_S = 44100, 10
N_RUNS, ENOUGH_S = 4, 0.5  # how often it is embedded, unless that takes longer
SLOW, TOO_SLOW = 0.5, 1.0  # share of real time
NEEDS_CPUINFO = ("aarch64", "arm64")  # here the runtime crashes without


def bundle(
    settings: ModelConfig,
    keep: Callable[[Model], object],
    *,
    sees_processor: bool = True,
    machine: str | None = None,
) -> Finding:
    """Whether a bundle's files are what its manifest says, and make a model.

    Parameters
    ----------
    settings : ModelConfig
    keep : callable
        Is given the model, for the other checks.
    sees_processor : bool
        Whether /proc/cpuinfo can be read.
    machine : str, optional
        The processor's architecture; this one's where not given.
    """
    if not sees_processor and (machine or platform.machine()) in NEEDS_CPUINFO:
        text = f"{settings.path} was not loaded: without /proc/cpuinfo the runtime crashes on this processor"
        return Finding("bundle", BAD, text, "see processor, above")
    try:
        read = read_bundle(settings.path, trusted_keys=settings.trusted_keys, trust_owners=settings.trust_owners)
        model = make_described(read, **_parameters(settings))
    except (SonycMLError, ValueError, TypeError) as error:
        keys = f" --trusted-keys {quoted(settings.trusted_keys)}" if settings.trusted_keys else ""
        keys += "".join(f" --trust-owner {owner}" for owner in settings.trust_owners)
        remedy = f"repair it, and check it with: sonyc-ml bundle verify {quoted(settings.path)}{keys}"
        return Finding("bundle", BAD, str(error), remedy)
    keep(model)
    version = f" {read.manifest.version}" if read.manifest else ""
    return Finding("bundle", OK, f"{read.name}{version}, {_vouched(model, settings)}")


def _vouched(model: Model, settings: ModelConfig) -> str:
    manifest = model.bundle.manifest
    if manifest is None:
        return f"SHA-256 {model.bundle.sha256[:12]}…, without a manifest: a network alone"
    n_files = len(manifest.files)
    digests = f"the digest{'s' * (n_files != 1)} of {n_files} file{'s' * (n_files != 1)} right"
    if settings.trusted_keys is None:
        return f"{digests}, no signature asked for (model.trusted_keys)"
    return f"{digests}, signed by a key of {settings.trusted_keys}"


def _parameters(settings: ModelConfig) -> dict[str, Any]:
    """Keywords of the model itself."""
    return {
        key: value
        for key, value in settings.parameters().items()
        if key not in ("trusted_keys", "trust_owners", "golden")
    }


def kernels(model: Model, settings: ModelConfig) -> Finding:
    """Whether XNNPACK, the delegate with the quick kernels, took the network."""
    n_taken, n_operators = model.interpreter.delegated()
    text = f"{model.bundle.name}: XNNPACK took {n_taken} of {n_operators} operators"
    if n_taken:
        return Finding("kernels", OK, text)
    if settings.reference_kernels:
        remedy = "take reference_kernels = true out of [model], unless parity with other machines is worth it"
        return Finding("kernels", WARN, f"{text}, as reference_kernels asks: slow", remedy)
    remedy = "use ai-edge-litert (see runtime), where /proc/cpuinfo can be read (see processor)"
    return Finding("kernels", WARN, f"{text}: slow; {model.interpreter.backend} runs it alone", remedy)


def golden(model: Model, settings: ModelConfig) -> Finding:
    """Whether this machine computes what the bundle's maker computed."""
    name, manifest = model.bundle.name, model.bundle.manifest
    if manifest is None or manifest.golden is None:
        text = f"{name} has no golden vector: nothing proves its numbers here"
        return Finding("golden", SKIPPED, text)
    changed = set(_parameters(settings)) - RUNNING
    if changed:
        text = f"{name}: [model] changes {', '.join(sorted(changed))}, and the golden vector is of the bundle as it is"
        return Finding("golden", SKIPPED, text)
    try:
        found = check_golden(model)
    except BundleMismatchError as error:
        return Finding(
            "golden", BAD, str(error), f"sonyc-ml bundle verify {quoted(settings.path)} says when it is right"
        )
    deviations = ", ".join(
        f"{part} {value:.3g}" if part != "cosine" else f"{part} {value:.6f}" for part, value in found.items()
    )
    return Finding("golden", OK, f"{name}: right within its tolerance ({deviations})")


def speed(models: Sequence[Model], timer: Callable[[], float] = time.perf_counter) -> Finding:
    """How much of real time this machine needs, by embedding noise with every bundle."""
    if not models:
        return Finding("speed", SKIPPED, "no bundle could be loaded")
    y = np.random.default_rng(0).normal(0, 0.05, DURATION_S * SAMPLE_RATE).astype(np.float32)
    elapsed_s = sum(_seconds(model, y, timer) for model in models)
    share = elapsed_s / DURATION_S
    hop_s = min(model.extractor.hop_size_s for model in models)
    took = f"{elapsed_s * 1000:.0f} ms for {DURATION_S} s, a window every {hop_s:g} s"
    text = f"this node needs {share:.2g} of real time ({took})"
    remedy = (
        f"make fewer windows, as with hop_size = {math.ceil(hop_s * share / SLOW * 10) / 10:g} in [model], "
        'or overload.policy = "stretch-hop"; see kernels, temperature and governor too'
    )
    if share > TOO_SLOW:
        return Finding("speed", BAD, f"{text}; it cannot keep up with a recorder that never pauses", remedy)
    n = math.floor(1 / max(share, 1e-6))
    text += f"; it can keep up with {n} recorder{'s' * (n != 1)} that never pause{'s' * (n == 1)}"
    return Finding("speed", WARN, text, remedy) if share > SLOW else Finding("speed", OK, text)


def _seconds(model: Model, y: np.ndarray[tuple[int], np.dtype[np.float32]], timer: Callable[[], float]) -> float:
    """Seconds that a model takes for samples; the first run warms up, unless it is the only one."""
    taken: list[float] = []
    while len(taken) < N_RUNS and sum(taken) < ENOUGH_S:
        begin = timer()
        model.get_outputs(y, SAMPLE_RATE)
        taken.append(timer() - begin)
    return statistics.median(taken[1:] or taken)
