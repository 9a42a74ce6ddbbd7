"""Checks of the machine itself: Python, libraries, processor, power, heat, memory, clock."""

from __future__ import annotations

import importlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType

from sonyc_ml.base.human import size
from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.base.records import dataclass

OK, WARN, BAD, SKIPPED = VERDICTS = ("ok", "warn", "bad", "skipped")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found.

    Attributes
    ----------
    check : str
        Its name.
    verdict : {"ok", "warn", "bad", "skipped"}
        Whether the daemon runs well with it, runs worse, or does not do its work; or there is nothing to check here.
    text : str
        What was found.
    remedy : str
        How to repair it, in a sentence; empty where there is nothing to repair.
    """

    check: str
    verdict: str
    text: str
    remedy: str = ""


Importer = Callable[[str], ModuleType]

OLDEST_PYTHON = (3, 11)
LIBRARIES = ("numpy", "soundfile", "watchdog", "dill")
RUNTIMES = ("ai_edge_litert", "tflite_runtime")  # the first one is used where both are there
WHEELS_FOR = ("x86_64", "aarch64", "armv7l")  # machines that a runtime is published for
TFLITE_RUNTIME_ENDS = (3, 11)  # the last Python that it has wheels for

# A daemon takes about 55 MB, and the recorder wants to live too.
LOW_MEMORY, NO_MEMORY = 150e6, 64e6
HOT_C, TOO_HOT_C = 75.0, 85.0  # a Raspberry Pi slows down from 80 °C on
THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"
UNDER_VOLTAGE, CAPPED, SLOWED, SOFT_LIMIT = 1, 2, 4, 8  # now; the same 16 bits up: since the machine was started
CONDITIONS = {
    UNDER_VOLTAGE: "under-voltage",
    CAPPED: "a capped frequency",
    SLOWED: "throttling",
    SOFT_LIMIT: "the soft limit of temperature",
}
BETTER_POWER = "use the power supply made for this Raspberry Pi, on a short thick cable, and fewer USB devices"
BETTER_COOLING = "cool it: a heat sink, holes in the housing, or a place in the shade"
DYNAMIC_DRIVERS = ("intel_pstate", "amd-pstate-epp")  # whose "powersave" does raise the frequency


def python(
    version: tuple[int, ...] = sys.version_info[:3],
    machine: str | None = None,
    *,
    is_64_bit: bool = sys.maxsize > 2**32,
) -> Finding:
    """Whether this Python and processor are ones that the runtimes exist for."""
    machine = machine or platform.machine()
    text = f"{'.'.join(map(str, version))} on {machine}, {64 if is_64_bit else 32} bits"
    if version < OLDEST_PYTHON:
        return Finding("python", BAD, f"{text}: too old", "install Python 3.11 or later, and sonyc-ml with it")
    if machine not in WHEELS_FOR:
        remedy = f"use a machine with one of {', '.join(WHEELS_FOR)}, or build a runtime for this one"
        return Finding("python", WARN, f"{text}: no runtime is published for it", remedy)
    if is_64_bit:
        return Finding("python", OK, text)
    if version[:2] > TFLITE_RUNTIME_ENDS:
        remedy = "use a 64-bit system, or Python 3.11, the last that tflite-runtime has"
        return Finding("python", BAD, f"{text}: no runtime is published for 32 bits and this Python", remedy)
    remedy = "if the processor has 64 bits, install a 64-bit system"
    return Finding("python", WARN, f"{text}: only the slower tflite-runtime is published for 32 bits", remedy)


def libraries(importer: Importer = importlib.import_module, wanted: Mapping[str, str] | None = None) -> Finding:
    """Whether what the package needs is there, is new enough (by default as it says itself) and can be imported."""
    wanted = _requirements() if wanted is None else wanted
    found, problems, newer = [], [], []
    for name in LIBRARIES:
        least = wanted.get(name, "0")
        try:
            importer(name)
            version = metadata.version(name)
        except (ImportError, OSError) as error:  # the second: soundfile without its shared library
            problems.append(f"{name} cannot be imported ({error})")
        else:
            found.append(f"{name} {version}")
            if _numbers(version) >= _numbers(least):
                continue
            problems.append(f"{name} {version} is older than {least}")
        newer.append(f"'{name}>={least}'")
    if problems:
        return Finding("libraries", BAD, "; ".join(problems), f"{sys.executable} -m pip install {' '.join(newer)}")
    return Finding("libraries", OK, ", ".join(found))


def _requirements() -> dict[str, str]:
    """The least version of each library, as the installed package says it."""
    try:
        lines = metadata.requires("sonyc-ml") or []
    except metadata.PackageNotFoundError:  # a folder of sources
        return {}
    matches = [re.match(r"([\w.-]+)>=([\d.]+)$", line) for line in lines]
    return {match[1]: match[2] for match in matches if match}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def runtime(
    importer: Importer = importlib.import_module,
    version: Callable[[str], str] = metadata.version,
    *,
    is_64_bit: bool = sys.maxsize > 2**32,
) -> Finding:
    """Which runtime runs networks."""
    problems = []
    for package in RUNTIMES:
        name = package.replace("_", "-")
        try:
            importer(f"{package}.interpreter")
            text = f"{name} {version(name)}"
        except (ImportError, OSError) as error:
            problems.append(str(error))
            continue
        if package == RUNTIMES[0] or not is_64_bit:
            return Finding("runtime", OK, text)
        remedy = f"{sys.executable} -m pip install ai-edge-litert"
        return Finding("runtime", WARN, f"{text}, which runs networks without XNNPACK: slowly", remedy)
    name = (RUNTIMES[0] if is_64_bit else RUNTIMES[1]).replace("_", "-")
    remedy = f"{sys.executable} -m pip install {name}"
    return Finding("runtime", BAD, f"none can be imported: {'; '.join(problems)}", remedy)


def processor(proc: Path = Path("/proc")) -> Finding:
    """Whether the runtime can see what the processor can do."""
    try:
        lines = (proc / "cpuinfo").read_text(errors="replace").splitlines()
    except OSError as error:
        text = (
            f"{proc / 'cpuinfo'} cannot be read ({error.strerror}): XNNPACK is off without it, or the runtime crashes"
        )
        return Finding("processor", BAD, text, "take ProcSubset=pid out of the unit: systemctl edit sonyc-ml")
    fields = [line.partition(":")[::2] for line in lines]
    named = {key.strip(): value.strip() for key, value in fields}
    name = named.get("Model") or named.get("model name") or platform.machine()
    n_cores = sum(key.strip() == "processor" for key, _ in fields)
    return Finding("processor", OK, f"{name}, {n_cores} core{'s' * (n_cores != 1)}")


def memory(proc: Path = Path("/proc")) -> Finding:
    """Whether there is memory for a daemon."""
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", (proc / "meminfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match is None:
        return Finding("memory", SKIPPED, f"{proc / 'meminfo'} does not say")
    available = int(match[1]) * 1024
    text = f"{size(available)} available"
    remedy = "end what needs it; this shows what does: ps -eo rss,comm --sort=-rss | head"
    if available < NO_MEMORY:
        return Finding("memory", BAD, f"{text}: the daemon needs {size(NO_MEMORY)}", remedy)
    if available < LOW_MEMORY:
        return Finding("memory", WARN, f"{text}: little, beside a recorder", remedy)
    return Finding("memory", OK, text)


def clock(ask: Callable[[], bool | None] = is_clock_synchronised) -> Finding:
    """Whether the times in outputs will be true."""
    is_synchronised = ask()
    if is_synchronised is None:
        return Finding("clock", SKIPPED, "nothing here says whether it is synchronised")
    if is_synchronised:
        return Finding("clock", OK, "synchronised")
    remedy = "sudo timedatectl set-ntp true (without a network: add a clock module)"
    return Finding("clock", WARN, "not synchronised: times in outputs may be wrong", remedy)


def power(sys_folder: Path = Path("/sys"), proc: Path = Path("/proc")) -> Finding:
    """Whether a Raspberry Pi has had too little voltage, or was slowed down."""
    bits = _throttled(sys_folder)
    if bits is None:
        try:
            model = (proc / "device-tree" / "model").read_text(errors="replace").strip("\0\n")
        except OSError:
            model = "this machine"
        return Finding("power", SKIPPED, f"{model} does not report its voltage; a Raspberry Pi does, by vcgencmd")
    now = [words for bit, words in CONDITIONS.items() if bits & bit]
    before = [words for bit, words in CONDITIONS.items() if bits & bit << 16 and not bits & bit]
    parts = [f"{' and '.join(now)} now"] if now else []
    parts += [f"{' and '.join(before)} since the start of the machine"] if before else []
    if not parts:
        return Finding("power", OK, "neither under-voltage nor throttling since the start of the machine")
    either = bits | bits >> 16
    remedies = [BETTER_POWER] if either & UNDER_VOLTAGE else []
    remedies += [BETTER_COOLING] if either & (CAPPED | SLOWED | SOFT_LIMIT) and not either & UNDER_VOLTAGE else []
    verdict = BAD if bits & UNDER_VOLTAGE else WARN  # it damages cards
    return Finding("power", verdict, "; ".join(parts), "; ".join(remedies))


def _throttled(sys_folder: Path) -> int | None:
    """The firmware's bits; None where there is nobody to ask."""
    try:
        return int((sys_folder / THROTTLED).read_text(), 16)
    except (OSError, ValueError):
        pass
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603
            [program, "get_throttled"], capture_output=True, text=True, check=False, timeout=5
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"throttled=(0x[0-9a-fA-F]+)", answer)  # without the right to ask, it says something else
    return int(match[1], 16) if match else None


def temperature(sys_folder: Path = Path("/sys")) -> Finding:
    """Whether the machine is too hot to run at its speed."""
    degrees = list(_temperatures(sys_folder))
    if not degrees:
        return Finding("temperature", SKIPPED, "this machine does not report it")
    text = f"{max(degrees):.0f} °C"
    if max(degrees) >= TOO_HOT_C:
        return Finding("temperature", BAD, f"{text}: too hot, it slows down", BETTER_COOLING)
    if max(degrees) >= HOT_C:
        return Finding("temperature", WARN, f"{text}: a Raspberry Pi slows down from 80 °C on", BETTER_COOLING)
    return Finding("temperature", OK, text)


def _temperatures(sys_folder: Path) -> Iterator[float]:
    for path in (sys_folder / "class" / "thermal").glob("thermal_zone*/temp"):
        try:
            yield int(path.read_text()) / 1000
        except (OSError, ValueError):  # a sensor that is switched off
            continue


def governor(sys_folder: Path = Path("/sys")) -> Finding:
    """Whether the processor may run at its full frequency."""
    folder = sys_folder / "devices" / "system" / "cpu"
    found = {_read_word(path) for path in folder.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {""}
    drivers = {_read_word(path) for path in folder.glob("cpu[0-9]*/cpufreq/scaling_driver")}
    if not found:
        return Finding("governor", SKIPPED, "this machine does not report it")
    text = ", ".join(sorted(found))
    if "powersave" in found and not drivers & {*DYNAMIC_DRIVERS}:
        remedy = f"echo ondemand | sudo tee {folder}/cpu*/cpufreq/scaling_governor"
        return Finding("governor", WARN, f"{text}: the processor stays at its lowest frequency", remedy)
    return Finding("governor", OK, text)


def _read_word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
