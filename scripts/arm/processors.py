"""The processors of nodes: how each is called, by whom, and what there is for it."""

from __future__ import annotations

import os
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
INSTALLER = ROOT / "deploy" / "install.sh"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sonyc-ml" / "arm"
GLIBCS = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")  # Debian 12 has 2.36


class SkippedError(Exception):
    """It cannot be tried here; says why."""


@dataclass(frozen=True, slots=True)
class Board:
    """What emulator and /proc/cpuinfo say of a board's cores; where they disagree the runtime takes the wrong kernels.

    Attributes
    ----------
    name : str
    cpu : str
        The emulator's name for it.
    part, variant, revision : str
        As the kernel numbers Arm's designs.
    features : str
        The kernel's names for what it can do.
    """

    name: str
    cpu: str
    part: str
    variant: str
    revision: str
    features: str

    def cpuinfo(self) -> str:
        """The board's /proc/cpuinfo, with as many cores as there are here."""
        fields = {
            "BogoMIPS": "108.00",
            "Features": self.features,
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU variant": self.variant,
            "CPU part": self.part,
            "CPU revision": self.revision,
        }
        core = "".join(f"{name}\t: {value}\n" for name, value in fields.items())
        return "".join(f"processor\t: {number}\n{core}\n" for number in range(os.cpu_count() or 1))


PI_5 = Board(
    "Raspberry Pi 5",
    "cortex-a76",
    "0xd0b",
    "0x4",
    "1",
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
)
PI_4 = Board("Raspberry Pi 4", "cortex-a72", "0xd08", "0x0", "3", "fp asimd evtstrm crc32 cpuid")
PI_3 = Board("Raspberry Pi 3", "cortex-a53", "0xd03", "0x0", "4", "fp asimd evtstrm crc32 cpuid")
PI_2 = Board(
    "Raspberry Pi 2",
    "cortex-a7",
    "0xc07",
    "0x0",
    "5",
    "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm",
)


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor, in a Debian for it.

    Attributes
    ----------
    name : str
        Debian's.
    machine : str
        Python's ``platform.machine()`` on a node.
    qemu : str
        Whose emulator.
    boards : tuple of Board
        That have one; the first is what is emulated unless another is asked for.
    triplet : str
        Of its folders of libraries.
    from_debian : frozenset of str
        Packages of Python's that are Debian's there, for PyPI has no wheels.
    without : frozenset of str
        What some tests want and PyPI has no wheels of, nor of what it needs; they skip themselves.
    """

    name: str
    machine: str
    qemu: str
    boards: tuple[Board, ...]
    triplet: str
    from_debian: frozenset[str]
    without: frozenset[str] = frozenset()

    @property
    def has_litert(self) -> bool:
        """Whether it runs LiteRT; the other has tflite-runtime, and no soxr."""
        return not self.from_debian

    def platforms(self) -> list[str]:
        """Tags of the wheels that a Debian 12 for it takes, the newest first."""
        tags = [f"manylinux_{glibc}_{self.machine}" for glibc in GLIBCS]
        return [*tags, f"manylinux2014_{self.machine}", f"linux_{self.machine}"]

    def requirements(self, *extras: str) -> list[Requirement]:
        """What pyproject.toml requires of PyPI there."""
        project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
        required = [Requirement(text) for group in groups for text in group]
        absent = self.from_debian | self.without
        return [one for one in required if one.name not in absent and self._wants(one.marker)]

    def _wants(self, marker: Marker | None) -> bool:
        return marker is None or marker.evaluate({"platform_machine": self.machine, "extra": ""})


PROCESSORS = {
    "arm64": Processor("arm64", "aarch64", "aarch64", (PI_5, PI_4, PI_3), "aarch64-linux-gnu", frozenset()),
    "armhf": Processor(
        *("armhf", "armv7l", "arm", (PI_2,), "arm-linux-gnueabihf"),
        frozenset({"numpy", "cffi", "systemd-python"}),
        frozenset({"distributed", "duckdb", "matplotlib", "moto", "pandas", "pyarrow", "s3fs", "scikit-learn"}),
    ),
}


def of_installer(name: str) -> list[str]:
    """An array of deploy/install.sh: what it installs is said there, and nowhere else."""
    script = f'source "$1"; printf "%s\\n" "${{{name}[@]}}"'
    return subprocess.run(
        ["bash", "-c", script, "bash", INSTALLER], check=True, capture_output=True, text=True
    ).stdout.split()
