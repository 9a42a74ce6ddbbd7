"""Whose files these are: owner and mode, and the signature over a manifest. Nothing here reads what a file means."""

from __future__ import annotations

import base64
import os
import pwd
import re
import shlex
import stat
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from sonyc_ml.errors import BundleError, BundleIntegrityError, MissingBundleError

NAMESPACE = "sonyc-ml-bundle"
SIGNER = "sonyc-ml"
MAX_FILE_SIZE = 1 << 30

# 51 bytes in base64: the type's name and the length of what follows, which all keys have in common, and the key.
TRUSTED_KEY = re.compile(r"(ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43})(\s.*)?")
SIGNED_BY_ED25519 = b"SSHSIG\0\0\0\1\0\0\0\x33\0\0\0\x0bssh-ed25519"


def read_plain(path: Path) -> bytes:
    """Read a file, whoever can write it: a pipe or a device is refused instead of waited for.

    Raises
    ------
    BundleIntegrityError
        It is not a file, or larger than any model.
    BundleError
        It cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check_kind(path, os.fstat(descriptor))
            return file.read(MAX_FILE_SIZE)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BundleError:
    kind = MissingBundleError if isinstance(error, FileNotFoundError) else BundleError
    return kind(f"{path}: {error.strerror}")


def read_own(path: Path) -> bytes:
    """Read a file that only root or the user who runs this can write; where it lies does not matter.

    Raises
    ------
    BundleIntegrityError
        It is not a file, or somebody else can write to it.
    OSError
        It cannot be read, or is not there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        _check_file(path, os.fstat(descriptor), _own())
        return file.read(MAX_FILE_SIZE)


def owner_ids(owners: Collection[str]) -> frozenset[int]:
    """The numbers of users who are named, or given by number.

    Raises
    ------
    ValueError
        There is no such user here.
    """
    if isinstance(owners, str):
        raise TypeError(f"trust_owners takes a list of users, not {owners!r}")
    try:
        return frozenset(int(owner) if owner.isdecimal() else pwd.getpwnam(owner).pw_uid for owner in owners)
    except KeyError as error:
        raise ValueError(f"trust_owners (--trust-owner): there is no user {error.args[0].split()[-1]} here") from error


def _own() -> frozenset[int]:
    return frozenset((0, os.geteuid()))


def read_guarded(path: Path, owners: frozenset[int] = frozenset()) -> bytes:
    """Read a file that nobody else can have written, once.

    The file is opened once, its owner and mode are checked on the open descriptor, and those bytes are returned that
    this descriptor reads. The file and every folder on the way to it must belong to root or to the user who runs
    this, or to one of `owners`, and no one else may write to them; a symbolic link must not lead out of its folder.

    Parameters
    ----------
    path : Path
    owners : frozenset of int
        Numbers of further users whose files are taken; see :func:`owner_ids`.

    Raises
    ------
    BundleIntegrityError
        Says what could be written by whom, and how to repair it.
    BundleError
        The file cannot be read at all.
    """
    try:
        real = Path(os.path.realpath(path, strict=True))
        if real.parent != Path(os.path.realpath(path.parent, strict=True)):
            raise BundleIntegrityError(
                f"{path} is a symbolic link out of its folder, to {real}: put the file itself there"
            )
        allowed = _own() | owners
        _check_folders(path, allowed)
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            _check_file(path, status, allowed)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(status.st_size + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) != status.st_size:
        raise BundleIntegrityError(f"{path} was written to while it was read: try again when that is done")
    return content


def _check_kind(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BundleIntegrityError(f"{path} is not a file")
    if status.st_size > MAX_FILE_SIZE:
        raise BundleIntegrityError(f"{path} has {status.st_size:,} bytes, which no model of a node has")


def _check_file(path: Path, status: os.stat_result, allowed: frozenset[int]) -> None:
    _check_kind(path, status)
    _check_owner(path, status, allowed)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        # A check-out under umask 002 has this in every file: one command for all of them.
        raise BundleIntegrityError(
            f"{path} can be written by others, and so may files beside it: chmod go-w {quoted(path.parent)}/*"
        )


def _check_folders(path: Path, allowed: frozenset[int]) -> None:
    loose = list(dict.fromkeys(_loose_folders(path, allowed)))
    if loose:
        words = f"the folder{'s' * (len(loose) > 1)} {', '.join(map(str, loose))}"
        raise BundleIntegrityError(f"{words} can be written by others: chmod go-w {' '.join(map(quoted, loose))}")


def _loose_folders(path: Path, allowed: frozenset[int]) -> Iterator[Path]:
    """Folders that others can write to, of all that have a say in where a path leads: where its links lie, too."""
    for step in (*reversed(path.absolute().parents), path.absolute()):
        status = step.lstat()
        if stat.S_ISLNK(status.st_mode):
            _check_owner(step, status, allowed)  # in a sticky folder, anybody could have put it there
            yield from _loose_folders(step.parent / step.readlink(), allowed)
        elif stat.S_ISDIR(status.st_mode):
            _check_owner(step, status, allowed)
            # In a sticky folder such as /tmp, what belongs to us cannot be renamed or removed by others.
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
                yield step


def _check_owner(path: Path, status: os.stat_result, allowed: frozenset[int]) -> None:
    if status.st_uid not in allowed:
        raise BundleIntegrityError(
            f"{path} belongs to user {status.st_uid}, neither to root nor to user {os.geteuid()}, who runs this: run "
            f"it as user {status.st_uid}, or copy the bundle to a folder of root's; if you share the folder with that "
            f"user: --trust-owner {status.st_uid}"
        )


def quoted(path: Path) -> str:
    """A path as a shell takes it, for commands in messages."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))


def check_signature(manifest: bytes, source: Path, trusted_keys: Path, owners: frozenset[int] = frozenset()) -> None:
    """Refuse a manifest that none of the trusted keys has signed.

    Signatures are OpenSSH's (``ssh-keygen -Y sign``, Ed25519), so keys are made, kept and read with tools that every
    operator has, and verifying needs no library.

    Parameters
    ----------
    manifest : bytes
        Its very bytes.
    source : Path
        Of the manifest; its signature is ``NAME.json.sig``.
    trusted_keys : Path
        Public keys, ``ssh-ed25519 AAAA… comment``, one per line.
    owners : frozenset of int
        Whose signature files are taken beside root's and our own; the keys are not theirs to choose.

    Raises
    ------
    BundleIntegrityError
    """
    signature_path = source.with_name(source.name + ".sig")
    if not os.path.lexists(signature_path):
        raise BundleIntegrityError(
            f"{source} is not signed, and only signed bundles are trusted here ({trusted_keys}): "
            "have it signed with `sonyc-ml bundle sign`"
        )
    if not is_signed(manifest, read_guarded(signature_path, owners), trusted_keys):
        raise BundleIntegrityError(
            f"{signature_path} is no signature over {source.name} by a key of {trusted_keys}: "
            "the manifest was changed after it was signed, or somebody else signed it"
        )


def is_signed(content: bytes, signature: bytes, trusted_keys: Path, namespace: str = NAMESPACE) -> bool:
    """Whether one of the trusted keys has signed this content, for this purpose.

    Parameters
    ----------
    content, signature : bytes
    trusted_keys : Path
        Public keys, as for :func:`check_signature`.
    namespace : str
        What the signature is for: one over a manifest is none over anything else.

    Raises
    ------
    BundleError
        The keys cannot be read or trusted, or there is no ssh-keygen.
    """
    keys = _parse_keys(read_guarded(trusted_keys), trusted_keys)
    signers = "".join(f'{SIGNER} namespaces="{namespace}" {key}\n' for key in keys)
    signers_file, signature_file = _in_memory(signers.encode()), _in_memory(signature)
    try:
        result = _ssh_keygen(
            *("verify", "-f", f"/proc/self/fd/{signers_file}", "-I", SIGNER, "-s", f"/proc/self/fd/{signature_file}"),
            content=content,
            namespace=namespace,
            descriptors=(signers_file, signature_file),
        )
    finally:
        os.close(signers_file)
        os.close(signature_file)
    return result.returncode == 0


def _parse_keys(content: bytes, source: Path) -> list[str]:
    """The keys without their comments: ssh-keygen sees nothing of a line but what was understood here."""
    lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
    matches = [TRUSTED_KEY.fullmatch(line) for line in lines if line and not line.startswith("#")]
    keys = [match[1] for match in matches if match]
    if not keys or len(keys) < len(matches):
        raise BundleIntegrityError(
            f"{source} must hold Ed25519 public keys and nothing else, one per line: ssh-ed25519 AAAA… comment"
        )
    return keys


def make_signature(manifest: Path, key: Path) -> Path:
    """Sign a manifest with an OpenSSH private key; return the signature's path, ``NAME.json.sig``.

    Raises
    ------
    BundleError
        ssh-keygen refused, or a file cannot be read or written; says its reason.
    """
    path = manifest.with_name(manifest.name + ".sig")
    try:
        path.write_bytes(signature_of(manifest.read_bytes(), key, str(manifest)))
    except OSError as error:
        raise BundleError(f"{error.filename or path}: {error.strerror}") from error
    return path


def signature_of(content: bytes, key: Path, what: str, namespace: str = NAMESPACE) -> bytes:
    """Sign content, which messages call `what`, with an OpenSSH private key.

    Raises
    ------
    BundleError
        ssh-keygen refused; says its reason.
    """
    result = _ssh_keygen("sign", "-f", str(key), content=content, namespace=namespace)
    if result.returncode:
        reason = result.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise BundleError(f"{what} cannot be signed with {key}: {reason[-1]}")
    armoured = b"".join(result.stdout.splitlines()[1:-1])
    if not base64.b64decode(armoured).startswith(SIGNED_BY_ED25519):
        raise BundleError(f"{key} is not an Ed25519 key, and no other is trusted: ssh-keygen -t ed25519 makes one")
    return result.stdout


def _ssh_keygen(
    action: str, *arguments: str, content: bytes, namespace: str, descriptors: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", "-Y", action, "-n", namespace, *arguments]
    try:
        return subprocess.run(  # noqa: S603
            command, input=content, capture_output=True, check=False, pass_fds=descriptors, timeout=30
        )
    except OSError as error:
        raise BundleError(f"signatures need ssh-keygen ({error.strerror}): apt-get install openssh-client") from error
    except subprocess.TimeoutExpired as error:
        raise BundleError("ssh-keygen did not answer within 30 s; does it wait for a passphrase?") from error


def _in_memory(content: bytes) -> int:
    """A file without a name, for a program that wants one."""
    descriptor = os.memfd_create(SIGNER, 0)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
