"""A Ray cluster of several nodes on this host, in a process of its own, which ends when its standard input does.

    python benchmarks/ray_nodes.py NODES CPUS      CPUS: of each node; the head beside them has none, so no load worker runs there

Prints its address. For each line that it reads, the node that came last is killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

_STORE_BYTES = 100 << 20
_MARK = "OPENAGENTPERF_TEST_CLUSTER"


class Started(Struct):
    address: str
    mark: str
    process: subprocess.Popen[str]

    def processes(self, named: str) -> list[int]:
        """Processes of this cluster's whose command line holds `named`: other clusters may be on this host."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if self.mark in (entry / "environ").read_bytes().decode("utf-8", "replace") and named in (
                    entry / "cmdline"
                ).read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"):
                    found.append(int(entry.name))
            except (OSError, ValueError):  # not a process, or gone meanwhile
                continue
        return sorted(found)

    def kill_a_node(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "killed\n"


@contextmanager
def cluster(nodes: int, cpus: int) -> Iterator[Started]:
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, __file__, str(nodes), str(cpus)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, _MARK: mark, "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Started(process.stdout.readline().strip(), mark, process)
        finally:
            process.stdin.close()


def main() -> None:
    from ray.cluster_utils import Cluster

    nodes, cpus = map(int, sys.argv[1:])
    usual = {"object_store_memory": _STORE_BYTES, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **usual})
    added = [made.add_node(num_cpus=cpus, **usual) for _ in range(nodes)]
    made.wait_for_nodes()
    print(made.address, flush=True)
    for _ in sys.stdin:
        made.remove_node(added.pop(), allow_graceful=False)
        print("killed", flush=True)
    made.shutdown()


if __name__ == "__main__":
    main()
