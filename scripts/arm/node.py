"""A node in a userland: installed by the steps of deploy/install.sh, with a check-out and real recordings beside it."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.arm import debian, wheels
from scripts.arm.processors import INSTALLER, ROOT, Processor
from scripts.arm.userland import Userland, check_machine

CHECK_OUT, SHARED = "/opt/check-out/sonyc-ml", "/opt/check-out/shared/data"
WHEELS, TEST_PACKAGES, TFLITE_RUNTIME = "/opt/wheels", "/opt/test-packages", "/opt/tflite-runtime"
CURRENT = "/opt/sonyc-ml/current"
PYTHON = f"{CURRENT}/bin/python"
PARTS = (
    *("deploy", "docs", "examples", "models", "scripts", "tests"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
)
SHARED_PARTS = ("models", "oracle", "recordings")

# What the emulator is told by a variable has to get past `env -i`; on a node there is none.
_TOLD = """
    eval "$(declare -f as_service | sed "s|env -i -C / |&QEMU_CPU=$QEMU_CPU |")"
"""
# What main of install.sh does between checking the machine and the switch. dpkg does not know what was only unpacked.
_STEPS = f"""
    source {CHECK_OUT}/deploy/install.sh
    offline={WHEELS}
    work=$(mktemp -d)
    trap clean_up EXIT
    find_wheel
    {_TOLD}
"""
_BUILD = f"""{_STEPS}
    check_sources
    check_python
    build "$VERSIONS/$(name_of_version)"
"""
_RENEW = f"""{_STEPS}
    folder=$(echo "$VERSIONS"/*)
    run_pip "$folder/bin/python" install --no-index --no-deps --force-reinstall "$from"
    rm -rf "$folder"/{{bundle,deploy,docs,drop-ins}}
    put_beside "$folder"
    chmod -R go-w "$folder"
    prepare_system "$folder"
    reason=$(check_version "$folder" 2>&1) || {{ echo "$reason" >&2; exit 1; }}
    echo "$reason"
    point "$CURRENT" "versions/$(basename "$folder")"
    point /usr/local/bin/sonyc-ml "$CURRENT/bin/sonyc-ml"
"""


@dataclass(frozen=True, slots=True)
class Node:
    """An installed node.

    Attributes
    ----------
    userland : Userland
    shared : Path or None
        The real data beside this check-out, a copy of which is at `SHARED` inside.
    work : Path
        A folder of this machine, for what is compared.
    is_quick : bool
        Little of everything.
    tests : sequence of str
        Files of tests; all where there are none.
    said : str
        What the check of install.sh had to say.
    """

    userland: Userland
    shared: Path | None
    work: Path
    is_quick: bool
    tests: Sequence[str]
    said: str

    @property
    def processor(self) -> Processor:
        """Its processor."""
        return self.userland.processor


@contextmanager
def node(
    processor: Processor, *, is_quick: bool, tests: Sequence[str] = (), with_tflite_runtime: bool = False
) -> Iterator[Node]:
    """Install, or renew what is in the cache, and run until left."""
    check_machine(processor)
    root = debian.userland(processor)
    packages = wheels.for_node(processor, root)
    what = (root.name, packages.name, hashlib.sha256(INSTALLER.read_bytes()).hexdigest())
    with tempfile.TemporaryDirectory(prefix="sonyc-ml-arm-work-") as name, ThreadPoolExecutor(1) as beside:
        of_tests = beside.submit(wheels.for_tests, processor)  # a download, while others unpack and install
        work = Path(name)
        wheel = wheels.ours(work / "wheel")

        def install(folder: Path) -> None:
            with Userland(processor, [root]) as empty:
                _furnish(empty, packages, wheel)
                _bash(empty, _BUILD)
                (folder / "opt").mkdir()
                subprocess.run(["cp", "-a", empty.root / "opt/sonyc-ml", folder / "opt"], check=True)

        installed = debian.kept(f"installed-{processor.name}", what, install)
        with Userland(processor, [installed, root]) as userland:
            _furnish(userland, packages, wheel)
            said = "; ".join(line for line in _bash(userland, _RENEW).splitlines() if not line.startswith("speed"))
            shared = _add_shared(userland)
            _link_package(userland)
            userland.copy(of_tests.result(), TEST_PACKAGES)
            if with_tflite_runtime:
                userland.copy(wheels.tflite_runtime(processor), TFLITE_RUNTIME)
            yield Node(userland, shared, work, is_quick, tests, said)


def _bash(userland: Userland, script: str) -> str:
    return userland.run("bash", "-euo", "pipefail", "-c", script).stdout.strip()


def _furnish(userland: Userland, packages: Path, wheel: Path) -> None:
    """Bring a check-out without the package, and every wheel."""
    for part in PARTS:
        userland.copy(ROOT / part, f"{CHECK_OUT}/{part}")
    userland.copy(packages, WHEELS)
    userland.copy(wheel, f"{WHEELS}/{wheel.name}")
    userland.run("chmod", "-R", "go-w", CHECK_OUT)


def _add_shared(userland: Userland) -> Path | None:
    shared = (ROOT.parent / "shared" / "data").resolve()
    if not shared.is_dir():
        return None
    for part in SHARED_PARTS:
        userland.copy(shared / part, f"{SHARED}/{part}")
    return shared


def _link_package(userland: Userland) -> None:
    """Put what the wheel installed into the check-out: the tests run that, not the sources."""
    place = "import sysconfig; print(sysconfig.get_path('purelib'))"
    folder = userland.run(PYTHON, "-c", place).stdout.strip()
    userland.run("ln", "-sfn", f"{folder}/sonyc_ml", f"{CHECK_OUT}/sonyc_ml")
