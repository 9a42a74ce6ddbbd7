"""A bundle that was pulled is loaded, and its golden vector computed, before the daemon does: in a process of its own.

``python -m sonyc_ml.node.rollout.proving CONFIG NETWORK`` ends with status 0 where it can be used, and says why where
not. What kills it kills nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sonyc_ml.errors import BundleMismatchError, SonycMLError, StoreError

REFUSED = 2
TIMEOUT_S = 600.0  # a Raspberry Pi Zero takes seconds for a small network
KILLED_BY_OTHERS = (-9, -15)  # the kernel without memory, systemd


def prove(config_path: Path, network: Path) -> None:
    """Load a network in another process, with the configuration's parameters, and check its golden vector.

    Raises
    ------
    BundleMismatchError
        It cannot be used; says why.
    StoreError
        That could not be found out now.
    """
    with tempfile.TemporaryDirectory() as state:  # the machine's state does not hear of what may never run
        command = [sys.executable, "-m", __name__, str(config_path), str(network)]
        environment = os.environ | {"STATE_DIRECTORY": state}
        try:
            ended = subprocess.run(  # noqa: S603
                command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StoreError(f"{network} could not be proved: {error}") from error
    if ended.returncode in KILLED_BY_OTHERS:
        raise StoreError(f"the process that was to prove {network} was killed; there may be too little memory")
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"status {ended.returncode}"])[-1]
        raise BundleMismatchError(last if ended.returncode == REFUSED else f"{network} kills what loads it: {last}")


def main(config_path: Path, network: Path) -> int:
    """Do it here; returns the exit status."""
    from sonyc_ml.authoring.proofs import verify  # noqa: PLC0415  imports numpy
    from sonyc_ml.base.process import use_one_thread_a_worker  # noqa: PLC0415
    from sonyc_ml.node.config import load_config  # noqa: PLC0415
    from sonyc_ml.node.running_bundles import RunningBundles  # noqa: PLC0415

    use_one_thread_a_worker()
    try:
        config = load_config(config_path, {})
        model = next(one for one in config.model if one.path.stem == network.stem)
        verify(network, model.trusted_keys, model.trust_owners)
        RunningBundles([model.at(network)], config.output, levels=config.level_settings())
    except SonycMLError as error:
        print(error, file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
