"""A connection over SSH whose other end is known: fsspec's own would take whoever answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.upload.stores.secrets import HOSTS_FILE, HOSTS_VARIABLE, UploadError

USUAL_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("~/.ssh/known_hosts"))
KEEP_ALIVE_S = 30


class _KnownHosts(SFTPFileSystem):  # type: ignore[misc]
    """fsspec's file system over a connection that was made here."""

    protocol = ()
    cachable = False

    def __init__(self, client: paramiko.SSHClient, timeout_s: float) -> None:
        self._client_of_ours, self._timeout_s = client, timeout_s
        super().__init__("")

    def _connect(self) -> None:
        self.client = self._client_of_ours
        self.ftp = self.client.open_sftp()
        self.ftp.get_channel().settimeout(self._timeout_s)


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks whom.

    Attributes
    ----------
    host : str
    port : int
    user : str or None
        That of this process where None.
    password : str or None
        Of the user, or of the key.
    key_file : str or None
        A private key; those of this user, and of its agent, where None.
    hosts_file : str or None
        Keys of servers, as OpenSSH has them; those of this user and machine where None.
    timeout_s : float
    """

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    key_file: str | None
    hosts_file: str | None
    timeout_s: float


def connect(login: Login) -> Any:
    """A file system of fsspec's over SFTP.

    Raises
    ------
    UploadError
        The server's key is not known, or is another one.
    ConfigError
        A file of keys cannot be read.
    Exception
        It does not answer, or does not let the user in.
    """
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        _load_host_keys(client, login.hosts_file)
        _log_in(client, login)
    except BaseException:
        client.close()
        raise
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(KEEP_ALIVE_S)
    return _KnownHosts(client, login.timeout_s)


def _load_host_keys(client: paramiko.SSHClient, hosts_file: str | None) -> None:
    for path in [Path(hosts_file)] if hosts_file else [path.expanduser() for path in USUAL_HOSTS]:
        if path.exists():
            try:
                client.load_host_keys(str(path))
            except OSError as error:
                raise ConfigError(f"the keys of servers in {path} cannot be read: {error.strerror}") from error


def _log_in(client: paramiko.SSHClient, login: Login) -> None:
    has_own = bool(login.key_file or login.password)
    timeouts = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), login.timeout_s)
    try:
        client.connect(
            login.host,
            login.port,
            login.user,
            password=login.password,
            key_filename=login.key_file,
            passphrase=login.password if login.key_file else None,
            allow_agent=not has_own,
            look_for_keys=not has_own,
            **timeouts,
        )
    except paramiko.BadHostKeyException:
        name = login.host if login.port == 22 else f"[{login.host}]:{login.port}"
        raise UploadError(f"the server {name} has another key than the one that is known: who answers there?") from None
    except paramiko.SSHException as error:
        if "not found in known_hosts" not in str(error):
            raise
        raise UploadError(
            f"the server's key is not known; compare what ssh-keyscan -p {login.port} {login.host} prints with the "
            f"server's own, and put it into the credential {HOSTS_FILE}, or the file that {HOSTS_VARIABLE} names"
        ) from None
