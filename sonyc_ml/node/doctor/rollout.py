"""Checks of bundles that come from a store."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

from sonyc_ml.base.human import to_install
from sonyc_ml.node.config import ModelConfig
from sonyc_ml.node.doctor.machine import BAD, OK, WARN, Finding
from sonyc_ml.node.rollout.facts import read_facts

PULL = "sudo systemctl start sonyc-ml-pull (or: sonyc-ml bundle pull) looks at once, and says what is wrong"


def rollout(state_folder: Path, model: ModelConfig) -> Finding:
    """Whether somebody looks for a new version of a bundle, and gets it."""
    name = model.path.stem
    if find_spec("fsspec") is None:
        return Finding("rollout", BAD, f"{model.source} cannot be read: fsspec is not installed", to_install("remote"))
    facts = next((one for one in read_facts(state_folder) if one.bundle == name), None)
    if facts is None:
        timer = "sudo systemctl enable --now sonyc-ml-pull.timer"
        return Finding(
            "rollout", WARN, f"nobody has looked at {model.source} yet", f"{timer}, or: sonyc-ml bundle pull"
        )
    if trouble := facts.trouble(time.time()):
        return Finding("rollout", BAD, trouble, f"{PULL}; docs/rollout.md")
    trial = ", on trial yet" if facts.on_trial else ""
    return Finding("rollout", OK, f"{facts.detail}{trial}; looked {facts.looked}")
