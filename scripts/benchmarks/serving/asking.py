"""Clients of a prediction service, in a process of their own: ``python -m … PORT N_CLIENTS N_REQUESTS FILE...``.

Prints, as JSON, how long all took, and the processor time of these clients (in seconds).
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def predict(port: int, content: bytes) -> None:
    """Ask for the outputs of a recording."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/predict?encoding=b64", content, {"Content-Type": "audio/wav"})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    connection.close()


def main(arguments: list[str]) -> None:
    """Ask so often, so many at a time."""
    port, n_clients, n_requests = map(int, arguments[:3])
    contents = [Path(path).read_bytes() for path in arguments[3:]]
    with ThreadPoolExecutor(n_clients) as threads:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        list(threads.map(lambda i: predict(port, contents[i % len(contents)]), range(n_requests)))
        elapsed_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    print(json.dumps({"elapsed_s": elapsed_s, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main(sys.argv[1:])
