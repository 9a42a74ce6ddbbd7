"""``sonyc-ml`` in processes of their own, one for each line of arguments: forked, so that a start takes no time.

Prints the process of each, and how it ended.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Run what each line asks for, one after another."""
    for name in ("numpy", "s3fs", "paramiko", "webdav4.fsspec", "pyarrow.parquet"):
        with suppress(ImportError):
            __import__(name)
    import sonyc_ml.node.upload.uploader
    import sonyc_ml.outputs.archive.packing
    from sonyc_ml.cli import main as command

    del sonyc_ml
    log = Path(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            with log.open("a") as file:
                os.dup2(file.fileno(), 2)
            os._exit(command(shlex.split(line)))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
