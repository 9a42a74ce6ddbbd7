"""A disk that is full, and is freed again."""

from __future__ import annotations

import subprocess

from scripts.fault_suite.rig import Node, Options, Row, as_root, record


def run(options: Options) -> list[Row]:
    """Fill a tmpfs of 1 MiB under the daemon, then free it."""
    row = Row("disk full (1 MiB tmpfs), then freed")
    if not as_root():
        row.skipped = "mounting a tmpfs needs root"
        return [row]
    node = Node(options.folder / "node", options.bundle)
    node.outputs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", node.outputs], check=True)
    try:
        ballast = node.outputs / "ballast"
        node.start()
        ballast.write_bytes(bytes(200 << 10))
        record(node.recordings, [f"{i:03}.wav" for i in range(100)])
        node.wait_for(lambda: "cannot" in node.log(), "the disk to be full")
        record(node.recordings, [f"later-{i}.wav" for i in range(3)])
        node.wait_for(lambda: node.log().count("trying again") > 2, "a second attempt")
        # Until it is freed the journal may not be able to say what is published.
        while_full = [problem for problem in node.problems() if "corrupt" in problem or "temporary" in problem]
        n_while_full = node.states()["done"]
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", node.outputs], check=True)
        seconds = node.wait_until_done()
        status = node.end()
        row.counts = {"while full": n_while_full, **node.states(), "recovered in s": round(seconds, 1)}
        row.problems = while_full + node.problems()
        if status:
            row.problems.append(f"the daemon ended with {status}")
    finally:
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
            node.process.wait()
        subprocess.run(["umount", node.outputs], check=True)
    return [row]
