"""Checks of uploading: credentials, the store, the clock that its requests are signed by."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import Config
from sonyc_ml.node.doctor.machine import BAD, OK, WARN, Finding
from sonyc_ml.node.upload.facts import FAILING, STOPPED, read_facts, upload_folder
from sonyc_ml.node.upload.stores.opening import open_store
from sonyc_ml.node.upload.stores.secrets import FILE, FOLDER_VARIABLE, PASSWORD, USER, UploadError, read_credentials
from sonyc_ml.node.upload.stores.store import Store

START = "sudo systemctl start sonyc-ml-upload, or: sonyc-ml upload --config FILE"
HOW = "docs/upload.md says how the process is given them"


def of_upload(config: Config) -> list[tuple[str, Callable[[], Finding]]]:
    """The checks of a node that uploads."""
    checks = (("upload", process), ("credentials", credentials), ("store", store), ("signing", signing))
    return [(name, partial(check, config)) for name, check in checks]


def process(config: Config) -> Finding:
    """Whether a process uploads, and how that goes."""
    facts = read_facts(upload_folder(config))
    if facts is None or facts.word == STOPPED:
        return Finding("upload", WARN, "sonyc-ml upload does not run", START)
    if facts.word == FAILING:
        return Finding("upload", BAD, facts.detail, "see store, below")
    return Finding("upload", OK, f"{facts.waiting:,} files are not acknowledged by {facts.to}")


def credentials(config: Config) -> Finding:
    """Whether this process has what the store may ask for; that of the service has its own."""
    try:
        known = read_credentials(os.environ)
    except ConfigError as error:
        return Finding("credentials", BAD, str(error), HOW)
    scheme = urlsplit(config.upload.to).scheme
    wanted = {"s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "https": (USER, PASSWORD)}.get(scheme, ())
    missing = [name for name in wanted if known.get(name) is None]
    if missing:
        text = f"neither the environment nor ${FOLDER_VARIABLE}/{FILE} has {' and '.join(missing)}"
        return Finding("credentials", WARN, f"{text}, here; the service may have them", HOW)
    return Finding(
        "credentials", OK, "what the store may ask for is there" if wanted else "none are needed, or a key is"
    )


def store(config: Config) -> Finding:
    """Whether the store answers, and knows who asks."""
    try:
        made: Store = open_store(config.upload)
        made.check()
        made.close()
    except (UploadError, ConfigError) as error:
        return Finding("store", BAD, str(error), "check the network, the address (upload.to) and the credentials")
    return Finding("store", OK, f"{made.address} answers")


def signing(config: Config) -> Finding:
    """Whether the clock is good enough: S3 refuses requests whose time is a quarter of an hour off."""
    if urlsplit(config.upload.to).scheme == "s3" and is_clock_synchronised() is False:
        text = "the clock is not synchronised, and S3 refuses what is signed by one that is 15 minutes off"
        return Finding("signing", WARN, text, "sudo systemctl enable --now systemd-timesyncd")
    return Finding("signing", OK, "nothing keeps requests from being signed")
