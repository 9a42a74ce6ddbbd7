"""The process that makes pictures: a line asks for one, and what is made of it comes back."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of Linux's <sys/prctl.h>
NICE = 10  # the daemon and the recorder go first


def main(config: str, parent: str, memory_mb: str) -> None:
    """Answer until nobody asks any more.

    Parameters
    ----------
    config : str
        Path of the daemon's configuration.
    parent : str
        Number of the process that asks; this one ends with it.
    memory_mb : str
        How much memory this process may take.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it ended before
        return
    from sonyc_ml.base.process import be_nice, limit_memory, use_one_thread_a_worker  # noqa: PLC0415

    use_one_thread_a_worker()
    with suppress(OSError):
        be_nice(NICE)
    with suppress(OSError):  # where memory is short, rather this process than the service
        Path("/proc/self/oom_score_adj").write_text("1000")
    limit_memory(int(memory_mb))
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    _answer_all(Path(config), int(memory_mb), answers)


def _answer_all(config: Path, memory_mb: int, answers: object) -> None:
    from sonyc_ml.web.pictures.making import Maker  # noqa: PLC0415  imports numpy

    maker = Maker(config)
    for line in sys.stdin.buffer:
        head, parts = _made(maker, line, memory_mb)
        content = b"".join([json.dumps(head).encode(), b"\n", *parts])
        answers.write(content)  # type: ignore[attr-defined]
        answers.flush()  # type: ignore[attr-defined]


def _made(maker: object, line: bytes, memory_mb: int) -> tuple[dict[str, object], list[bytes]]:
    from sonyc_ml.errors import SonycMLError  # noqa: PLC0415
    from sonyc_ml.web.pictures.jobs import from_line  # noqa: PLC0415
    from sonyc_ml.web.pictures.making import MissingError  # noqa: PLC0415

    try:
        parts = maker.make(from_line(line))  # type: ignore[attr-defined]
    except MissingError as error:
        return {"error": str(error), "status": 404}, []
    except MemoryError:
        text = f"the picture needs more than the {memory_mb} MB of memory that there are for it: ask for a shorter span"
        return {"error": text, "status": 503}, []
    except (SonycMLError, ValueError, OSError) as error:
        return {"error": f"the picture could not be made: {error}", "status": 503}, []
    except Exception as error:
        logging.getLogger(__name__).exception("a mistake of the program")
        return {"error": f"the picture could not be made: {type(error).__name__}: {error}", "status": 500}, []
    return {"parts": {name: len(content) for name, content in parts.items()}}, list(parts.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
