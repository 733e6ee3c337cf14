"""Hosts that made the load: what each is, and how far its clock may be off the run's."""

from __future__ import annotations

from msgspec import Struct

from openagentperf.units import Ns


class HostFacts(Struct, frozen=True, kw_only=True):
    """One host of load workers, as it describes itself."""

    name: str
    """Its host name; on Ray with the node's address."""
    cores: tuple[int, ...]
    """CPU cores that a worker may use there."""
    memory_bytes: int
    files: int
    """Descriptors that a process may have; -1: no limit."""
    ports: int
    """Local ports for connections to one (address, port)."""
    python: str
    version: str
    """Of openagentperf."""
    code: str
    """Digest of the modules that make load: two checkouts of one version are not yet the same program."""
    transport: str
    platform: str
    machine: str
    ceiling_tokens_per_s: float | None = None
    """What its share of the workers was found to drive exactly (`openagentperf selfcheck` on that host); None where that was not
    measured."""


class LoadHost(Struct, frozen=True, kw_only=True):
    """A host that made load in a phase, and its monotonic clock against the run's own over it. Times in the rows are the run's."""

    facts: HostFacts
    workers: tuple[int, ...]
    """Those that ran there."""
    offset_ns: Ns
    """Its clock less the run's, before the phase. Large where the two were booted at different times."""
    error_ns: Ns
    """The offset is at most so far off: half of the shortest of its round trips."""
    drift_ns: Ns = 0
    """By how much the offset had changed when the phase had ended, and the error of that reading."""

    @property
    def worst_ns(self) -> Ns:
        """No time of this host's rows is further off the run's clock than this."""
        return self.error_ns + self.drift_ns
