"""S3 and what speaks its protocol: an object is there whole, or not at all."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

from sonyc_ml.node.upload.pacing import RateLimit
from sonyc_ml.node.upload.stores.secrets import Credentials
from sonyc_ml.node.upload.stores.store import (
    BY_SIZE,
    BY_STORE,
    BY_TAG,
    READ_BACK,
    LimitedReader,
    Sent,
    Store,
    digest_of,
)

PLAIN_TAG = re.compile(
    r"[0-9a-f]{32}"
)  # the MD5 of an object that was put at once, and is not encrypted by a key of KMS


class S3Store(Store):
    """A bucket, or a folder in it; see :class:`~sonyc_ml.node.upload.stores.store.Store`.

    Each object is put at once with its SHA-256, which the store compares before it takes it.
    """

    def __init__(self, to: str, credentials: Credentials, timeout_s: float, proof: str) -> None:
        super().__init__(to, credentials, timeout_s, proof)
        parts = urlsplit(to)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._system: Any = None

    def prove(self, sent: Sent) -> str:
        """By a checksum of the store's, or by reading the object back."""
        try:
            head = self._call("head_object", Key=self._key(sent), ChecksumMode="ENABLED")
        except FileNotFoundError:
            return ""
        if head["ContentLength"] != sent.n_bytes:
            return ""
        if checksum := head.get("ChecksumSHA256"):
            return BY_STORE if checksum == _checksum(sent) else ""
        tag = str(head.get("ETag", "")).strip('"')
        if PLAIN_TAG.fullmatch(tag) and tag == _md5(sent):
            return BY_TAG
        if self._proof == "size":
            return BY_SIZE
        return READ_BACK if self._read_back(sent) == (sent.n_bytes, sent.sha256) else ""

    def put(self, sent: Sent, limit: RateLimit) -> str:
        """In one request, whose body is read as the limit allows."""
        with sent.path.open("rb") as file:
            self._call(
                "put_object",
                Key=self._key(sent),
                Body=LimitedReader(file, limit),
                ContentLength=sent.n_bytes,
                ChecksumSHA256=_checksum(sent),
                Metadata={"sha256": sent.sha256},
            )
        proof = self.prove(sent)
        if not proof:
            raise self.refuse(sent)
        return proof

    def check(self) -> None:
        """Lists one object: that needs the bucket, and somebody who may."""
        with self.errors():
            self._call("list_objects_v2", Prefix=self._prefix, MaxKeys=1)

    def close(self) -> None:
        """The next call begins with a new client."""
        self._system = None

    def _key(self, sent: Sent) -> str:
        return f"{self._prefix}/{sent.key}" if self._prefix else sent.key

    def _read_back(self, sent: Sent) -> tuple[int, str]:
        path = f"{self._bucket}/{self._key(sent)}"
        with self._connected().open(path, "rb", block_size=1 << 20, cache_type="readahead") as file:
            return digest_of(file.read)

    def _call(self, method: str, **values: Any) -> Any:
        return self._connected().call_s3(method, Bucket=self._bucket, **values)

    def _connected(self) -> Any:
        if self._system is None:
            import s3fs  # noqa: PLC0415  an extra

            known = self._credentials
            region = known.get("AWS_DEFAULT_REGION")
            self._system = s3fs.S3FileSystem(
                key=known.get("AWS_ACCESS_KEY_ID"),
                secret=known.get("AWS_SECRET_ACCESS_KEY"),
                token=known.get("AWS_SESSION_TOKEN"),
                endpoint_url=known.get("AWS_ENDPOINT_URL"),
                client_kwargs={"region_name": region} if region else {},
                config_kwargs={
                    "connect_timeout": self._timeout_s,
                    "read_timeout": self._timeout_s,
                    "retries": {"total_max_attempts": 1},  # who uploads pauses longer each time, and says so
                    "s3": {"payload_signing_enabled": False},  # the checksum is signed; the body is read once
                    "max_pool_connections": 2,
                },
                use_listings_cache=False,
                skip_instance_cache=True,
            )
            self._system.retries = 1
        return self._system


def _checksum(sent: Sent) -> str:
    return base64.b64encode(bytes.fromhex(sent.sha256)).decode()


def _md5(sent: Sent) -> str:
    with sent.path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
