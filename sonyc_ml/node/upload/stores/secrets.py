"""Credentials: taken from the environment or from systemd, and never shown.

::

    $CREDENTIALS_DIRECTORY/upload_env            lines of NAME=value, by the names below
    $CREDENTIALS_DIRECTORY/upload_key            a private key of OpenSSH's, for sftp
    $CREDENTIALS_DIRECTORY/upload_known_hosts    keys of servers, for sftp

These are the names that ``LoadCredential=upload:FOLDER`` gives to the files env, key and known_hosts of a folder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError, StoreError

FOLDER_VARIABLE = "CREDENTIALS_DIRECTORY"
FILE, KEY_FILE, HOSTS_FILE = "upload_env", "upload_key", "upload_known_hosts"
USER, PASSWORD = "SONYC_ML_UPLOAD_USER", "SONYC_ML_UPLOAD_PASSWORD"
KEY_VARIABLE, HOSTS_VARIABLE = "SONYC_ML_UPLOAD_KEY_FILE", "SONYC_ML_UPLOAD_KNOWN_HOSTS"
SECRET = (PASSWORD, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
NAMES = (*SECRET, USER, KEY_VARIABLE, HOSTS_VARIABLE, "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
LIBRARIES = (
    "aiobotocore",
    "aiohttp",
    "asyncio",
    "botocore",
    "fsspec",
    "httpcore",
    "httpx",
    "paramiko",
    "s3fs",
    "urllib3",
)


class UploadError(StoreError):
    """The store did not take an object for now; its text holds no secret."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a store is told of who asks; printed, it shows nothing.

    Attributes
    ----------
    values : mapping of str to str
        By the names of environment variables.
    """

    values: Mapping[str, str]

    def get(self, name: str) -> str | None:
        """One of them; None where it is not given."""
        return self.values.get(name) or None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(value for name in SECRET if (value := self.values.get(name)))

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self.values))})"


def read_credentials(environment: Mapping[str, str]) -> Credentials:
    """The credentials of this process: those of systemd win over the environment.

    Raises
    ------
    ConfigError
        They are there and cannot be read.
    """
    values = {name: environment[name] for name in NAMES if environment.get(name)}
    folder = environment.get(FOLDER_VARIABLE)
    if folder:
        values |= _in_file(Path(folder, FILE))
        for name, file in ((KEY_VARIABLE, KEY_FILE), (HOSTS_VARIABLE, HOSTS_FILE)):
            if Path(folder, file).exists():
                values[name] = str(Path(folder, file))
    return Credentials(values)


def _in_file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the credentials in {path} cannot be read") from error
    values = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or name.strip() not in NAMES:
            raise ConfigError(f"{path}, line {number}: each line is NAME=value, and NAME one of {', '.join(NAMES)}")
        values[name.strip()] = value.strip().strip("'\"")
    return values


def silence_libraries() -> None:
    """Keep what libraries log of headers and addresses out of every log, a verbose one too."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())
