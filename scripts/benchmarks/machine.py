"""What the numbers were measured on: without it they mean nothing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tempfile
from pathlib import Path

from scripts.benchmarks import environments

PACKAGES = (
    "sonyc-ml",
    "numpy",
    "ai-edge-litert",
    "tflite-runtime",
    "soundfile",
    "watchdog",
    "dill",
    "librosa",
    "resampy",
)

LIST_VERSIONS = """
import importlib.metadata as metadata, platform, sys
print("Python", platform.python_version(), end="")
for name in sys.argv[1:]:
    try:
        print(",", name, metadata.version(name), end="")
    except metadata.PackageNotFoundError:
        pass
"""


def describe(load_before: float) -> dict[str, str]:
    """Processor, memory, system, where temporary files lie, how busy it was, and every environment's versions."""
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    usable = len(os.sched_getaffinity(0))
    temporary = tempfile.gettempdir()
    facts = {
        "processor": f"{_processor()}, {usable} of {os.cpu_count()} cores, {platform.machine()}",
        "memory": f"{memory_mb:,} MB (1 MB is 1,048,576 bytes throughout)",
        "system": f"Linux {platform.release()}, {_distribution()}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}",
        "outputs on": _file_system(Path(temporary)),
        "load": f"{load_before:.2f} before, {os.getloadavg()[0]:.2f} after (one worker at a time is about 1)",
    }
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor.exists():
        facts["governor"] = governor.read_text().strip()
    for name, python in environments.existing().items():
        listing = subprocess.run([python, "-c", LIST_VERSIONS, *PACKAGES], capture_output=True, text=True, check=True)
        facts[name] = listing.stdout
    return facts


def _processor() -> str:
    model = Path("/proc/device-tree/model")  # boards say their name here, PCs in cpuinfo
    if model.exists():
        return model.read_text().strip("\0\n ")
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else "unknown"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def _file_system(folder: Path) -> str:
    """Kind of the file system a folder is on: what a durable write costs depends on it."""
    kinds: dict[str, str] = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        kinds[mount] = kind
    folder = folder.resolve()
    return next((kinds[str(place)] for place in (folder, *folder.parents) if str(place) in kinds), "unknown")
