"""The hosts of a Ray cluster: it places one process on each, carries calls to them and notices when one is gone. Implements
load.cluster.Cluster. Ray is imported when a cluster is joined, and by no load worker.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from typing import Any

from openagentperf.errors import InfrastructureError, UsageError
from openagentperf.load.cluster import NodeAt
from openagentperf.load.line import HostLost
from openagentperf.load.node import Node
from openagentperf.units import Ns

_CONNECT_S = 5.0
_WORDS = 300


class RayCluster:
    """A cluster that this process has joined, until it is closed.

    skew_ns, rate   of the clocks of all its hosts (load.node.Node)
    """

    def __init__(self, address: str, skew_ns: Ns = 0, rate: float = 0.0) -> None:
        self._ray = joined(address)
        self._skew = (skew_ns, rate)

    def nodes(self) -> dict[str, NodeAt]:
        up = [
            (node["NodeManagerHostname"], node["NodeManagerAddress"], node["NodeID"])
            for node in self._ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
        ]
        names = [name for name, _, _ in up]
        return {
            node: NodeAt(name if names.count(name) == 1 else f"{name}/{node[:8]}", address)
            for name, address, node in sorted(up)
        }

    def place(self, node: str, cpus: int) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        has = next(n["Resources"]["CPU"] for n in self._ray.nodes() if n["NodeID"] == node)
        options = {
            "num_cpus": min(cpus, int(has)),
            "max_restarts": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        }
        return self._ray.remote(Node).options(**options).remote(*self._skew)

    def call(self, handle: Any, method: str, *args: Any) -> Any:
        return getattr(handle, method).remote(*args)

    def get(self, reply: Any, timeout_s: float) -> Any:
        try:
            return self._ray.get(reply, timeout=timeout_s)
        except self._ray.exceptions.GetTimeoutError:
            raise HostLost(f"no answer within {timeout_s:.0f} s") from None
        except self._ray.exceptions.RayError as error:
            raise HostLost(_short(error)) from None

    def put(self, data: bytes) -> Any:
        return self._ray.put(data)

    def drop(self, handle: Any) -> None:
        self._ray.kill(handle)

    def close(self) -> None:
        self._ray.shutdown()


def joined(address: str) -> Any:
    """The package `ray`, this process a driver of the cluster at `address`.

    UsageError where Ray is not installed, InfrastructureError where no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--ray", "the package `ray` is not installed", "a cluster is reached through it",
            "pip install 'openagentperf[ray]', here and on the cluster's nodes, or leave --ray out",
        ) from None  # fmt: skip
    _check_listens(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, namespace="openagentperf", log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise InfrastructureError(
            f"--ray {address}", f"cannot be joined ({_short(error)})", "a Ray cluster of the same Ray and Python as here is needed",
            "start this host as a node of it: `ray start --address=HEAD:6379`",
        ) from error  # fmt: skip
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray's own would end a run without its last words
                signal.signal(number, handler)
    return ray


def _check_listens(address: str) -> None:
    """Where an address names a host and a port: Ray itself tries for a minute, and then ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InfrastructureError(
            f"--ray {address}", f"accepts no connections ({error})", "the address of a Ray cluster's head is needed",
            "see `ray status` there, or start it with `ray start --head --port=6379`",
        ) from error  # fmt: skip


def _short(error: BaseException) -> str:
    """Ray's errors are pages: the line that says what it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "ModuleNotFoundError" in line), lines[0] if lines else type(error).__name__)
    return told[:_WORDS]
