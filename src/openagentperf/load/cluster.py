"""What load hosts need of the cluster that they are nodes of (load.ray is one), and who of them may take part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from openagentperf.errors import PlanError, UsageError
from openagentperf.records.hosts import HostFacts


class NodeAt(NamedTuple):
    name: str
    address: str


class Cluster(Protocol):
    """What places a load.node.Node on a host, and carries calls to it (load.ray)."""

    def nodes(self) -> Mapping[str, NodeAt]:
        """Those that are up and have a CPU to give, by id, always in the same order."""
        ...

    def place(self, node: str, cpus: int) -> Any: ...
    def call(self, handle: Any, method: str, *args: Any) -> Any: ...

    def get(self, reply: Any, timeout_s: float) -> Any:
        """Raises HostLost."""
        ...

    def put(self, data: bytes) -> Any:
        """Data that several calls take as an argument, sent once to each host."""
        ...

    def drop(self, handle: Any) -> None: ...
    def close(self) -> None: ...


def refuse(own: HostFacts, other: HostFacts, cores: Sequence[int]) -> None:
    """Raises UsageError where a host would not do what this one does, or lacks a core that its workers are to keep to."""
    for what, here, there in (
        ("openagentperf", own.version, other.version),
        ("transport", own.transport, other.transport),
        ("Python", *(facts.python.rpartition(".")[0] for facts in (own, other))),
        ("the code of openagentperf", own.code, other.code),
    ):
        if here != there:
            raise UsageError(
                f"load host {other.name}", f"has {what} {there}, this host {here}", "all hosts must run the same",
                f"install openagentperf {own.version} there as it is here",
            )  # fmt: skip
    if missing := sorted(set(cores) - set(other.cores)):
        raise PlanError(
            "plan", f"load.cores names core {missing[0]}, which a worker on load host {other.name} may not use",
            f"some of {', '.join(map(str, other.cores))} were needed", "leave load.cores out",
        )  # fmt: skip
