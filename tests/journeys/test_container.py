"""The rig that tests services on a systemd of its own, with services of a line or two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import container as rig
from tests.support.container import Container, container

__all__ = ["container"]  # pytest finds a fixture by its name in the module

READY = "systemd-notify --ready --status=listening"
BEAT = "while :; do systemd-notify WATCHDOG=1; sleep 0.1; done"
SEND_FIELDS = """
import signal, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
    journal.sendto(b"MESSAGE=heard\\nPRIORITY=5\\nRIG_RECORDING=a.wav\\n", "/run/systemd/journal/socket")
signal.pause()
"""
BOOT_AND_WAIT = """
import signal
from tests.support.container import Container
with Container() as container:
    print(container.name, flush=True)
    signal.pause()
"""


def unit_text(command: str, *lines: str) -> str:
    """A unit that runs a shell command."""
    return "\n".join(["[Service]", f"ExecStart=/bin/sh -c '{command}'", *lines, ""])


def start(machine: Container, unit: str, command: str, *lines: str) -> None:
    machine.add_unit(unit, unit_text(command, *lines))
    machine.systemctl("start", unit)


def has_restarted(machine: Container, unit: str) -> Callable[[], bool]:
    """Whether the unit runs again after having ended at least once."""
    return lambda: (
        int(machine.show(unit, "NRestarts")) > 0
        and machine.show(unit, "ActiveState") == "active"
        and machine.show(unit, "MainPID") != "0"
    )


def messages(machine: Container, unit: str) -> list[str]:
    return [entry["MESSAGE"] for entry in machine.journal(unit)]


def test_a_service_is_started_when_it_says_so(container: Container) -> None:
    """Starting a unit of Type=notify returns when it has said that it is ready, and its status can be read."""
    start(container, "rig-ready.service", f"{READY}; exec sleep infinity", "Type=notify", "NotifyAccess=all")
    assert container.show("rig-ready.service", "ActiveState") == "active"
    assert container.show("rig-ready.service", "StatusText") == "listening"


def test_a_service_that_is_never_ready_fails(container: Container) -> None:
    """A unit of Type=notify that says nothing is given up after its time."""
    lines = ("Type=notify", "TimeoutStartSec=0.3")
    container.add_unit("rig-silent.service", unit_text("exec sleep infinity", *lines))
    assert container.systemctl("start", "rig-silent.service", check=False).returncode != 0
    assert container.show("rig-silent.service", "Result") == "timeout"


def test_a_killed_service_is_restarted(container: Container) -> None:
    """A service that kill -9 ends runs again, as another process."""
    unit = "rig-killed.service"
    start(container, unit, "exec sleep infinity", "Restart=always", "RestartSec=0")
    before = container.show(unit, "MainPID")
    container.run("kill", "-9", before)
    container.wait_for(has_restarted(container, unit), "restart")
    assert container.show(unit, "MainPID") not in {"0", before}


def test_a_service_that_hangs_is_restarted(container: Container) -> None:
    """A stopped service misses its watchdog and runs again."""
    unit = "rig-hung.service"
    lines = ("Type=notify", "NotifyAccess=all", "WatchdogSec=2", "TimeoutAbortSec=1", "Restart=on-watchdog")
    start(container, unit, f"{READY}; {BEAT}", *lines, "RestartSec=0")
    container.systemctl("kill", "--signal=STOP", unit)
    container.wait_for(has_restarted(container, unit), "restart")
    assert any("watchdog" in message.lower() for message in messages(container, unit))


@pytest.mark.parametrize(
    ("name", "lines", "options"),
    [("shared", (), ()), ("own", ("LogNamespace=rig",), ("--namespace=rig",))],
)
def test_the_journal_has_a_services_own_fields(
    container: Container, name: str, lines: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """What a service writes with fields of its own is read back with them, from the journal it was told to use."""
    unit = f"rig-fields-{name}.service"
    (container.root / "opt/rig.py").write_text(SEND_FIELDS)
    start(container, unit, "exec /usr/bin/python3 /opt/rig.py", *lines)

    def heard() -> list[str]:
        return [entry["RIG_RECORDING"] for entry in container.journal(unit, *options) if entry["MESSAGE"] == "heard"]

    assert container.wait_for(heard, "entry") == ["a.wav"]


def test_a_sandboxed_service_writes_only_its_own_state(container: Container) -> None:
    """With DynamicUser and ProtectSystem=strict a service is nobody known, and writes to its state alone."""
    command = 'id -u >"$STATE_DIRECTORY/uid"; touch /etc/rig || touch "$STATE_DIRECTORY/refused"'
    lines = ("Type=oneshot", "DynamicUser=yes", "ProtectSystem=strict", "StateDirectory=rig")
    start(container, "rig-sandboxed.service", command, *lines)
    state = container.root / "var/lib/private/rig"
    assert 61184 <= int((state / "uid").read_text()) <= 65519  # the numbers that systemd keeps for this
    assert (state / "refused").exists()
    assert not (container.root / "etc/rig").exists()


def test_limits_hold(container: Container) -> None:
    """A service that takes more memory than MemoryMax is killed, and its weight reaches the kernel."""
    if container.run("mountpoint", "/sys/fs/cgroup/memory", check=False).returncode != 0:
        pytest.skip("control groups of version 1 are not in use here")
    start(container, "rig-weight.service", "exec sleep infinity", "CPUWeight=50")
    weight = "/sys/fs/cgroup/cpu/system.slice/rig-weight.service/cpu.shares"
    assert container.run("cat", weight).stdout == "512\n"  # 1024 for a weight of 100
    lines = ("Type=oneshot", "MemoryMax=30M")
    container.add_unit("rig-greedy.service", unit_text('exec /usr/bin/python3 -c "bytearray(200 << 20)"', *lines))
    assert container.systemctl("start", "rig-greedy.service", check=False).returncode != 0
    assert container.show("rig-greedy.service", "ExecMainStatus") == str(signal.SIGKILL.value)


def test_what_is_inside_stays_inside(container: Container) -> None:
    """The project can be read but not written, there is no network, and this machine does not see what is written."""
    assert container.run("cat", ROOT / "pyproject.toml").stdout == (ROOT / "pyproject.toml").read_text()
    assert container.run("touch", ROOT / "rig", check=False).returncode != 0
    container.run("touch", "/etc/rig-inside")
    assert (container.root / "etc/rig-inside").exists()
    assert not Path("/etc/rig-inside").exists()
    assert {line.split()[1] for line in container.run("ip", "-o", "addr").stdout.splitlines()} == {"lo"}
    assert container.run("ip", "route").stdout == ""


def test_commands_have_an_environment_of_their_own(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the tests' own environment reaches a command."""
    monkeypatch.setenv("VIRTUAL_ENV", "/nowhere")
    names = {line.split("=")[0] for line in container.run("env").stdout.splitlines()}
    assert names == {"PATH", "LANG", "HOME"}


def test_a_command_that_fails_says_what_it_wrote(container: Container) -> None:
    """A failed command is an error that holds its output, and one that takes too long is ended inside too."""
    with pytest.raises(AssertionError, match="lost"):
        container.run("sh", "-c", "echo lost >&2; exit 3")
    assert container.run("sleep", "4321", check=False, timeout_s=0.2).returncode == 124
    assert container.run("pgrep", "-f", "^sleep 4321", check=False).stdout == ""


def test_waiting_says_what_did_not_come(container: Container) -> None:
    """What does not come in time is named."""
    with pytest.raises(AssertionError, match=r"no rain after 0\.1 s"):
        container.wait_for(lambda: False, "rain", 0.1)


def groups_named(name: str) -> list[Path]:
    return [path for path in rig.own_groups() if (path / name).exists()]


def test_containers_do_not_meet_and_leave_nothing(container: Container) -> None:
    """A second container that ends by an error leaves no process, mount or control group, and the first as it was."""
    unit = "rig-same.service"
    start(container, unit, "exec sleep infinity")
    before = container.show(unit, "MainPID")
    other = Container()

    def fail_inside() -> None:
        with other:
            start(other, unit, "exec sleep infinity")
            assert f"/{other.name}/" in Path(f"/proc/{other.leader}/cgroup").read_text()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert container.show(unit, "MainPID") == before
    assert not groups_named(other.name)
    assert not rig.processes_with_mount(other.name)


def test_an_interrupted_start_leaves_nothing(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while systemd boots leaves no process, mount or control group."""

    def interrupt(self: Container) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Container, "_is_booted", interrupt)
    other = Container()
    with pytest.raises(KeyboardInterrupt), other:
        pytest.fail("it has booted")
    assert not groups_named(other.name)
    assert not rig.processes_with_mount(other.name)


def test_a_container_does_not_outlive_killed_tests(container: Container) -> None:
    """When the process that booted it is killed, the container goes, and the next one removes its groups."""
    with subprocess.Popen([sys.executable, "-c", BOOT_AND_WAIT], cwd=ROOT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        name = tests.stdout.readline().strip()
        assert rig.processes_with_mount(name)
        os.kill(tests.pid, signal.SIGKILL)
    container.wait_for(lambda: not rig.processes_with_mount(name), "end of the container")

    def are_groups_gone() -> bool:
        rig.remove_old_groups()
        return not groups_named(name)

    container.wait_for(are_groups_gone, "end of its control groups")


@pytest.mark.timing
def test_it_boots_and_stops_in_seconds(container: Container) -> None:
    """Booting is cheap enough for a test to have a container of its own."""
    start_s = time.monotonic()
    with Container():
        pass
    assert time.monotonic() - start_s < 10
