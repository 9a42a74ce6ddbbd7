"""What must hold on a node's own processor; each check says what it saw, or what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from scripts.arm.agreement import Agreement, agreement, oracle, read
from scripts.arm.node import CHECK_OUT, CURRENT, PYTHON, SHARED, Node
from scripts.arm.processors import ROOT, SkippedError
from scripts.arm.suite import run_tests
from sonyc_ml.node.crash import FAULTS
from sonyc_ml.outputs.files import read_output
from tests.support.container import wait_for

DEFAULT = "quantized_default_int8"
BUNDLE = f"{CURRENT}/bundle/{DEFAULT}.tflite"
NETWORK = "models/quantized_default_int8.tflite"  # SONYC's, among the shared data
WORK = "/opt/work"  # inside
MAX_STEPS, MIN_COSINE = 3, 0.9997  # between LiteRT here and on x86
MIN_COSINE_TO_ORACLE = 0.999
ALL = 99
N_WITHOUT_XNNPACK = 3  # a short one, a chirp and a street recording: emulated, a window takes half a second or more
TOLD_BY_DOCTOR = ("runtime", "kernels", "golden")


class BrokenError(Exception):
    """What should not have been."""


def require(holds: bool, text: str) -> None:
    """Say what is broken unless something holds."""
    if not holds:
        raise BrokenError(text)


def doctor(node: Node) -> str:
    """Nothing is bad, as far as runtime and bundle go."""
    done = node.userland.run("sonyc-ml", "doctor", "--model", BUNDLE, "--json", check=False)
    findings = json.loads(done.stdout)["findings"]
    bad = [f"{finding['check']}: {finding['text']}" for finding in findings if finding["verdict"] == "bad"]
    # Emulation is slow, and says nothing of the board's speed.
    bad = [text for text in bad if not text.startswith("speed")]
    require(not bad, "; ".join(bad))
    return "; ".join(finding["text"] for finding in findings if finding["check"] in TOLD_BY_DOCTOR)


def golden(node: Node) -> str:
    """The default bundle's golden vector is right, on each board."""
    told = []
    for board in node.processor.boards:
        done = node.userland.run("sonyc-ml", "bundle", "verify", BUNDLE, board=board, check=False)
        require(done.returncode == 0, f"{board.name}: status {done.returncode}, {done.stderr.strip()}")
        told.append(f"{board.name}: {_golden_line(done.stdout)}")
    return "; ".join(told)


def _golden_line(said: str) -> str:
    return next(line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("golden:"))


def exchange(node: Node) -> str:
    """A bundle that was exported and proved on x86 is proved here, and the other way round."""
    name = "exchange.tflite"
    network = (node.shared / NETWORK) if node.shared else ROOT / "models" / f"{DEFAULT}.tflite"
    here = node.work / "made-on-x86"
    here.mkdir()
    shutil.copy(network, here / name)
    _make_bundle([sys.executable, "-m", "sonyc_ml"], here / name)
    node.userland.copy(here, f"{WORK}/made-on-x86")
    there = f"{WORK}/made-on-arm"
    node.userland.copy(network, f"{there}/{name}")
    _make_bundle(node.userland.command("sonyc-ml"), Path(there, name))
    node.userland.run("chmod", "-R", "go-w", WORK)
    proved = node.userland.run("sonyc-ml", "bundle", "verify", f"{WORK}/made-on-x86/{name}", check=False)
    require(proved.returncode == 0, f"made on x86: {proved.stderr.strip()}")
    back = node.work / "made-on-arm"
    shutil.copytree(node.userland.root / there.lstrip("/"), back)
    command: list[str | Path] = [sys.executable, "-m", "sonyc_ml", "bundle", "verify", back / name]
    proved_here = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    require(proved_here.returncode == 0, f"made on ARM: {proved_here.stderr.strip()}")
    return f"x86 to ARM: {_golden_line(proved.stdout)}; ARM to x86: {_golden_line(proved_here.stdout)}"


def _make_bundle(program: list[str], network: Path) -> None:
    for arguments in (["features", "export", str(network.with_suffix(".pkl"))], ["bundle", "make", str(network)]):
        done = subprocess.run([*program, *arguments], check=False, capture_output=True, text=True, cwd=ROOT)
        require(done.returncode == 0, done.stderr.strip())


def sonyc(node: Node) -> str:
    """SONYC's network gives x86's embeddings and the oracle's, from its samples and from the recordings."""
    if node.shared is None:
        raise SkippedError("SONYC's network and the oracle are not beside this check-out")
    n = 2 if node.is_quick else ALL if node.processor.has_litert else N_WITHOUT_XNNPACK
    ours = embeddings_inside(node, n)
    told = [str(ours["runtime"])]
    if node.processor.has_litert:
        same = agreement(ours, embeddings_here(node, n), "")
        _require_close(same)
        told.append(f"x86, {same}")
    expected = oracle(node.shared)
    for prefix in ("oracle/", "recordings/"):
        close = agreement(ours, expected, prefix)
        require(close.cosine >= MIN_COSINE_TO_ORACLE, f"{prefix} against the oracle: {close}")
        told.append(f"oracle, from {'its samples' if prefix == 'oracle/' else 'recordings'}, {close}")
    return "; ".join(told)


def _require_close(same: Agreement) -> None:
    require(same.n_steps <= MAX_STEPS + 0.01 and same.cosine >= MIN_COSINE, f"against x86: {same}")


def embeddings_inside(node: Node, n: int, *flags: str, packages: str = "") -> dict[str, Any]:
    """What the node computes of SONYC's network, with flags of embeddings.py."""
    out, program = f"{WORK}/embeddings.npz", f"{CHECK_OUT}/scripts/arm/embeddings.py"
    node.userland.run("mkdir", "-p", WORK)
    environment = {"PYTHONPATH": packages} if packages else {}
    words = (PYTHON, program, f"{SHARED}/{NETWORK}", SHARED, out, str(n), *flags)
    node.userland.run(*words, environment=environment)
    return read(node.userland.root / out.lstrip("/"))


def embeddings_here(node: Node, n: int, *flags: str, python: Path | None = None) -> dict[str, Any]:
    """What this machine computes of SONYC's network, with flags of embeddings.py."""
    assert node.shared is not None
    out = node.work / "embeddings.npz"
    program = ROOT / "scripts" / "arm" / "embeddings.py"
    words: tuple[str | Path, ...] = (node.shared / NETWORK, node.shared, out, str(n), *flags)
    command = [python or Path(sys.executable), program, *words]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return read(out)


def recordings(node: Node) -> Path:
    """A folder of recordings on this machine: SONYC's, or a simulated recorder's."""
    folder = node.work / "recordings"
    if not folder.exists():
        folder.mkdir()
        simulator = ROOT / "scripts" / "simulate_recorder.py"
        subprocess.run([sys.executable, simulator, folder, "--one"], check=True, capture_output=True)
        for path in sorted((node.shared / "recordings").glob("*.wav")) if node.shared else ():
            shutil.copy(path, folder)
        if node.is_quick:
            for path in sorted(folder.glob("*.wav"), key=lambda path: path.stat().st_size)[3:]:
                path.unlink()
    return folder


def batch(node: Node) -> str:
    """`sonyc-ml embed` on two workers gives x86's embeddings."""
    folder, here = recordings(node), node.work / "embedded"
    node.userland.copy(folder, f"{WORK}/recordings")
    arguments = ("--workers", "2", "--quiet", "--golden", "always")
    inside = ("embed", f"{WORK}/recordings", "--model", BUNDLE, "--output", f"{WORK}/embedded")
    node.userland.run("sonyc-ml", *inside, *arguments)
    bundle = ROOT / "models" / f"{DEFAULT}.tflite"
    words: tuple[str | Path, ...] = ("embed", folder, "--model", bundle, "--output", here, *arguments)
    command = [sys.executable, "-m", "sonyc_ml", *words]
    subprocess.run(command, check=True, cwd=ROOT)
    cosines, equal = [], []
    for path in sorted(here.glob("*.npz")):
        ours, theirs = read(node.userland.root / f"{WORK}/embedded/{path.name}".lstrip("/")), read(path)
        a, b = ours["embedding"].astype(np.float64), theirs["embedding"].astype(np.float64)
        norms = np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)
        cosines.append(float(((a * b).sum(axis=1) / norms).min()))
        equal.append(float((a == b).mean()))
        require(str(ours["res_type"]) == "kaiser_best", f"{path.name} was resampled by {ours['res_type']}")
    least = MIN_COSINE if node.processor.has_litert else 0.998  # as the bundle's own golden vector
    require(min(cosines) >= least, f"lowest cosine to x86 {min(cosines):.6f}")
    return (
        f"{len(cosines)} recordings: lowest cosine to x86 {min(cosines):.6f}, {100 * min(equal):.2f} % of values equal"
    )


def daemon(node: Node) -> str:
    """The daemon, killed and then ended in the middle, embeds each recording exactly once."""
    spool, outputs = f"{WORK}/spool", f"{WORK}/outputs"
    seen = node.userland.root / outputs.lstrip("/")
    node.userland.copy(recordings(node), spool)
    for path in sorted((node.userland.root / spool.lstrip("/")).glob("*.wav")):
        shutil.copy(path, path.with_name(f"again_{path.name}"))
    n = len(list((node.userland.root / spool.lstrip("/")).glob("*.wav")))
    told = []
    for number, wanted, statuses in (
        (signal.SIGKILL, 1, {-signal.SIGKILL, 128 + signal.SIGKILL}),
        (signal.SIGTERM, 2, {0}),
        (signal.SIGTERM, n, {0}),
    ):
        status = _run_until(node, spool, outputs, wanted, number)
        require(status in statuses, f"status {status} after {number.name}")
        told.append(f"{number.name} after {len(list(seen.glob('*.npz')))}")
    names = Counter(str(read_output(path).provenance.recording) for path in seen.glob("*.npz"))
    require(len(names) == n and set(names.values()) == {1}, f"{n} recordings became {dict(names)}")
    left = [path.name for path in seen.rglob(".*.tmp")]
    require(not left, f"left behind: {left}")
    audited = node.userland.run("sonyc-ml", "audit", "--output", outputs, check=False)
    require(audited.returncode == 0, audited.stdout + audited.stderr)
    return f"{n} recordings, each embedded once; {', '.join(told)}"


def _run_until(node: Node, spool: str, outputs: str, wanted: int, number: signal.Signals) -> int:
    """Start the daemon, send it a signal once there are so many outputs, and return its status."""
    command = node.userland.command("sonyc-ml", "watch", spool, "--model", BUNDLE, "--output", outputs)
    seen = node.userland.root / outputs.lstrip("/")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: len(list(seen.glob("*.npz"))) >= wanted, f"{wanted} outputs", 300)
        finally:
            # nsenter's child, which became the daemon; nsenter itself ends with its status.
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(child), number)
        process.communicate()
    return process.returncode


def crash(node: Node) -> str:
    """Where LiteRT cannot read the processor it is killed; doctor and the second start of the daemon say so."""
    if not node.processor.has_litert:
        raise SkippedError("tflite-runtime does not crash")
    told = node.userland.run("sonyc-ml", "doctor", "--model", BUNDLE, "--json", sees_processor=False, check=False)
    require(told.returncode == 1, f"doctor: status {told.returncode} {told.stderr}")
    (finding,) = [one for one in json.loads(told.stdout)["findings"] if one["check"] == "bundle"]
    require("kills the process" in finding["text"] and "/proc/cpuinfo" in finding["remedy"], str(finding))
    watch = ("sonyc-ml", "watch", f"{WORK}/empty", "--model", BUNDLE, "--output", f"{WORK}/empty-outputs")
    node.userland.run("mkdir", "-p", f"{WORK}/empty")
    first, second = (node.userland.run(*watch, sees_processor=False, check=False) for _ in range(2))
    killed = {-fault for fault in FAULTS} | {128 + fault for fault in FAULTS}
    require(first.returncode in killed, f"the first start was not killed: status {first.returncode}")
    require(second.returncode == os.EX_SOFTWARE, f"the second start: status {second.returncode} {second.stderr}")
    require("kills the process" in second.stderr, second.stderr)
    return f"{finding['text']}; watch: status {first.returncode}, then {second.returncode}"


def tests(node: Node) -> str:
    """The tests pass, but those that time things or need what only a developer's machine has."""
    outcome = run_tests(node)
    require(not outcome.failures, f"{outcome}\n" + "\n".join(outcome.failures))
    return str(outcome)


CHECKS = {check.__name__: check for check in (doctor, golden, exchange, sonyc, batch, daemon, crash, tests)}
