"""Where a run's load workers go: to this host, or to the hosts of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from openagentperf.client.endpoint import Address
from openagentperf.errors import UsageError
from openagentperf.load.budget import Limits, Room, check_cores
from openagentperf.load.link import Hosts
from openagentperf.load.local import ThisHost
from openagentperf.plan import Plan
from openagentperf.records.preflight import Check


@contextmanager
def hosts_of(plan: Plan, ray: str) -> Iterator[Hosts]:
    """Open them, before the first byte is sent to the endpoint; `ray` is a cluster's address, or "". UsageError, InfrastructureError."""
    if not ray:
        check_cores(plan.load.cores)
        yield ThisHost()
        return
    if plan.endpoint is None:
        raise UsageError(
            "--ray", "stands beside the embedded target, which listens on this host alone", "an endpoint is needed", "add --endpoint URL"
        )  # fmt: skip
    from openagentperf.load.ray import RayCluster
    from openagentperf.load.remote import Remote

    with closing(Remote(RayCluster(ray), plan.load.workers, plan.load.cores)) as remote:
        yield remote


class Share:
    """What phases may ask of the hosts, as the workers stand on them now: a host that was lost leaves its share to others."""

    def __init__(self, hosts: Hosts, workers: int, width: int, addresses: Sequence[Address]) -> None:
        """`width`: most requests of one agent at once."""
        self._hosts, self._workers, self._width, self._addresses = hosts, workers, width, addresses

    def check(self, agents: int) -> None:
        """Raises InfrastructureError where a host cannot hold its share of a phase of `agents`."""
        for room in self._rooms():
            room.check(agents)

    def warnings(self, limit: int) -> tuple[Check, ...]:
        return tuple(warning for room in self._rooms() for warning in room.warnings(limit))

    def ceiling_tokens_per_s(self) -> float | None:
        """What all together are known to drive exactly: load is spread evenly over the workers, so the host that is the first at its
        ceiling decides. None where none is known."""
        known = [
            on.facts.ceiling_tokens_per_s * self._workers / len(on.workers)
            for on in self._hosts.placed(self._workers)
            if on.facts.ceiling_tokens_per_s
        ]
        return min(known, default=None)

    def _rooms(self) -> list[Room]:
        return [
            Room(
                self._width, self._workers, self._addresses, Limits(files=on.facts.files, ports=on.facts.ports), on.facts.name, on.workers
            )
            for on in self._hosts.placed(self._workers)
        ]  # fmt: skip
