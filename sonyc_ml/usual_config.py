"""Where a daemon's configuration is looked for when nobody names it."""

from __future__ import annotations

import os
from pathlib import Path

from sonyc_ml.errors import ConfigError


def usual_config(flags: str) -> Path:
    """The configuration of this machine's daemon.

    Parameters
    ----------
    flags : str
        What can be given instead, for the message.

    Returns
    -------
    Path
        ``$SONYC_ML_CONFIG``, else the one in ``$XDG_CONFIG_HOME``, else the one in ``/etc``.

    Raises
    ------
    ConfigError
        There is none of them.
    """
    named = os.environ.get("SONYC_ML_CONFIG")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    usual = [Path(folder, "sonyc-ml", "sonyc-ml.toml") for folder in (home, "/etc")]
    for path in usual:
        if path.exists():
            return path
    raise ConfigError(f"which daemon? There is no {' and no '.join(map(str, usual))}; give {flags}")
