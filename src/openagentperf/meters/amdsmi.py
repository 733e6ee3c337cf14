"""AMD's GPUs on this host, through the `amdsmi` package that ROCm ships (its version must be that of the installed library).

    energy   energy_accumulator x counter_resolution (uJ a tick, 15.3 on Instinct), 64 bits wide
    power    current_socket_power (MI300), else average_socket_power (MI200, Radeon), else socket_power: whole watts. The one that
             answers when the meter is opened is kept, so that an average and a present value never stand in one series

What a release calls a field, and in which unit, has changed more than once; each name below was one of them. Throttling is read from
the metrics table: amdsmi_get_violation_status sleeps 100 ms a GPU. Reasons are put together in four (THROTTLE).

A socket shows what all its dies and partitions draw: a secondary die (MI250) or a compute partition has no power of its own, or repeats
its socket's.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from openagentperf.client.clock import now_ns
from openagentperf.errors import MeterError
from openagentperf.meters.base import failed, stamped
from openagentperf.records.power import DeviceFacts, MeterFacts, Quantity, Reading
from openagentperf.system import AmdSmi as Spec
from openagentperf.units import NS_PER_S, Ns

THROTTLE = {1: "power", 2: "current", 4: "temperature", 8: "other"}
"""Bits of a `throttle` reading in words."""
_INDEPENDENT = {1: 0xFFFF, 2: 0xFFFF << 16, 4: 0xFFFF << 32, 8: 0xFFFF << 48}
"""Bits of the driver's indep_throttle_status that belong to each reason."""
_RESIDENCIES = {
    "ppt_residency_acc": 1,
    "socket_thm_residency_acc": 4,
    "vr_thm_residency_acc": 4,
    "hbm_thm_residency_acc": 4,
    "prochot_residency_acc": 8,
}
"""MI300 counts how often each limit was in force: a counter that has risen since the last reading is a reason."""

_STATES_EVERY_NS: Ns = NS_PER_S
_STALE_S = 10.0
_SENTINELS = (0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)
_WIDE_SENTINELS = _SENTINELS[1:]
_MAX_CAP_W = 100_000
"""A cap above is in uW, as releases from 6.1 on give it; before, it was in W."""

_NO_PERMISSION, _DRIVER_NOT_LOADED = 10, 34
_FIXES = {
    _NO_PERMISSION: "add this user to the groups render and video",
    _DRIVER_NOT_LOADED: "load the kernel driver (modprobe amdgpu, as root)",
}
_FIX = "see whether `amd-smi list` works on this host; in a container, pass /dev/kfd and /dev/dri in"

_Ask: TypeAlias = Callable[[], float]


class _NoValueError(Exception):
    """The driver answered, and its answer is no value."""


class _Sensor(NamedTuple):
    quantity: Quantity
    ask: _Ask
    """In the quantity's unit. Raises what _UNREADABLE and the package name."""


class _Gpu(NamedTuple):
    facts: DeviceFacts
    socket: str
    """PCI address without the function, which counts partitions."""
    sensors: tuple[_Sensor, ...]
    states: tuple[_Sensor, ...]


_UNREADABLE = (_NoValueError, OSError, KeyError, TypeError, ValueError, AttributeError)
"""What a release with other names, units or missing symbols shows itself by."""


class AmdSmi:
    """See the module's docstring. Implements meters.base.Meter."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._where = f"meter {spec.name}"
        self._smi: Any = None
        self._gpus: tuple[_Gpu, ...] = ()
        self._states_due_ns: Ns = 0
        self._residency: dict[str, dict[str, float]] = {}

    def open(self) -> MeterFacts:
        spec = self._spec
        smi = self._package()
        try:
            smi.amdsmi_init()
            self._smi = smi
            handles = list(smi.amdsmi_get_processor_handles())
            found = [self._gpu(*about) for about in zip(handles, *self._names(handles), strict=True)]
        except (smi.AmdSmiException, *_UNREADABLE) as error:
            self.close()
            fix = _FIXES.get(abs(getattr(error, "err_code", None) or 0), _FIX)
            what = f"AMD SMI does not answer ({_words(error)})"
            raise MeterError(self._where, what, "a working amdgpu driver is needed", fix) from error
        self._gpus, notes = self._chosen(found)
        version = getattr(smi, "__version__", "")
        return MeterFacts(
            name=spec.name,
            kind="amdsmi",
            boundary=spec.boundary,
            basis=spec.basis,
            source=f"amdsmi {version}".rstrip(),
            devices=tuple(gpu.facts for gpu in self._gpus),
            period_s=spec.period_s,
            max_gap_s=spec.max_gap_s,
            stale_s=max(spec.stale_s, _STALE_S),
            notes=("power comes in steps of 1 W, so that one value may stand for up to 10 s", *notes),
        )

    def read(self) -> list[Reading]:
        now = now_ns()
        with_states = now >= self._states_due_ns
        if with_states:
            self._states_due_ns = now + _STATES_EVERY_NS
        return [
            self._reading(gpu.facts.device, sensor)
            for gpu in self._gpus
            for sensor in (gpu.sensors + gpu.states if with_states else gpu.sensors)
        ]

    def close(self) -> None:
        if self._smi is not None:
            with suppress(self._smi.AmdSmiException):
                self._smi.amdsmi_shut_down()
            self._smi = None

    def _package(self) -> Any:
        try:
            with redirect_stdout(
                sys.stderr
            ):  # some releases print why they cannot be imported; standard output is not theirs
                return importlib.import_module("amdsmi")
        except ModuleNotFoundError as error:
            found, fix = (
                "the package amdsmi is not installed",
                "pip install /opt/rocm/share/amd_smi (the one that ROCm ships)",
            )
            raise MeterError(self._where, found, "AMD's GPUs are read through it", fix) from error
        except (ImportError, OSError, KeyError, AttributeError) as error:
            found = f"the package amdsmi finds no library of its own version ({_words(error)})"
            fix = "install ROCm's amd-smi-lib, and the package from /opt/rocm/share/amd_smi"
            raise MeterError(self._where, found, "libamd_smi.so is needed", fix) from error

    def _reading(self, device: str, sensor: _Sensor) -> Reading:
        value, why = 0.0, ""
        with stamped() as stamp:
            try:
                value = sensor.ask()
            except Exception as error:  # noqa: BLE001 - AmdSmiException has no name here before the import; a poll never raises
                why = _words(error)
        if why:
            return failed(self._spec, device, sensor.quantity, stamp, why)
        return Reading(
            meter=self._spec.name, device=device, quantity=sensor.quantity, t_ns=stamp.t_ns, spread_ns=stamp.spread_ns, value=value
        )  # fmt: skip

    # -- what there is -----------------------------------------------------------------------------------------------------------

    def _names(self, handles: list[Any]) -> tuple[list[str], list[str]]:
        """Name and PCI address of each: the UUID, or the address for all where a UUID is missing or stands for two."""
        uuids: list[str] = [self._or("", partial(self._smi.amdsmi_get_gpu_device_uuid, handle)) for handle in handles]
        bdfs = [str(self._smi.amdsmi_get_gpu_device_bdf(handle)) for handle in handles]
        return (uuids if all(uuids) and len(set(uuids)) == len(uuids) else bdfs), bdfs

    def _gpu(self, handle: Any, device: str, bdf: str) -> _Gpu:
        smi = self._smi

        def power(key: str) -> _Ask:
            return lambda: self._power(handle, key)

        sensors: list[_Sensor] = []
        if self._or(0.0, lambda: self._energy(handle)) > 0:  # a counter that is missing shows 0
            sensors.append(_Sensor("energy", lambda: self._energy(handle)))
        keys = ("current_socket_power", "average_socket_power", "socket_power")
        key = next((key for key in keys if self._or(0.0, power(key)) > 0), "")
        if key:
            sensors.append(_Sensor("power", power(key)))
        states: list[tuple[Quantity, _Ask]] = [
            ("power_cap", lambda: self._cap(handle)),
            ("clock", lambda: self._clock(handle)),
            ("throttle", lambda: self._throttle(handle, device)),
        ]
        facts = DeviceFacts(
            device=device,
            name=self._or("", lambda: smi.amdsmi_get_gpu_asic_info(handle)["market_name"]),
            scope="socket",
            counter=any(sensor.quantity == "energy" for sensor in sensors),
            averaged_s=0.0 if key == "current_socket_power" else None,
            power_cap_w=self._or(None, lambda: self._cap(handle)),
            driver=self._or("", lambda: smi.amdsmi_get_gpu_driver_info(handle)["driver_version"]),
        )
        kept = tuple(_Sensor(what, ask) for what, ask in states if self._or(None, ask) is not None)
        return _Gpu(facts, bdf.rpartition(".")[0] or bdf, tuple(sensors), kept)

    def _chosen(self, found: list[_Gpu]) -> tuple[tuple[_Gpu, ...], list[str]]:
        """The devices that were asked for, each with a sensor; else every socket once. And what was left out."""
        by_name = {gpu.facts.device: gpu for gpu in found}
        seen = ", ".join(sorted(name for name, gpu in by_name.items() if gpu.sensors)) or "none"
        for name in self._spec.devices:
            if name not in by_name or not by_name[name].sensors:
                what = (
                    f"there is no GPU `{name}`" if name not in by_name else f"`{name}` gives neither energy nor power"
                )
                needed = "devices are named by UUID (by PCI address where they have none)"
                raise MeterError(self._where, what, needed, f"use one of: {seen}")
        if self._spec.devices:
            return tuple(by_name[name] for name in self._spec.devices), []
        sockets: dict[str, _Gpu] = {}
        for gpu in found:
            if gpu.sensors:
                sockets.setdefault(gpu.socket, gpu)
        if not sockets:
            raise MeterError(
                self._where, f"GPUs with a power sensor: none of {len(found)}", "at least one is needed", _FIX
            )
        chosen = tuple(sockets.values())
        left = [gpu.facts.device for gpu in found if gpu not in chosen]
        what = "secondary dies and partitions, whose power their socket shows"
        return chosen, [f"left out: {', '.join(left)} ({what})"] if left else []

    def _or(self, default: Any, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (self._smi.AmdSmiException, *_UNREADABLE):
            return default

    # -- single values -----------------------------------------------------------------------------------------------------------

    def _energy(self, handle: Any) -> float:
        count = self._smi.amdsmi_get_energy_count(handle)
        ticks = count["energy_accumulator"] if "energy_accumulator" in count else count["power"]  # its name before 6.1
        return _number(ticks, _WIDE_SENTINELS) * _number(count["counter_resolution"]) * 1e-6

    def _power(self, handle: Any, key: str) -> float:
        watts = _number(self._smi.amdsmi_get_power_info(handle)[key])
        if watts <= 0:  # missing is not zero
            raise _NoValueError(f"it shows {watts:g} W, which no GPU that is on draws")
        return watts

    def _cap(self, handle: Any) -> float:
        cap = _number(self._smi.amdsmi_get_power_cap_info(handle)["power_cap"])
        return cap * 1e-6 if cap > _MAX_CAP_W else cap

    def _clock(self, handle: Any) -> float:
        clock = self._smi.amdsmi_get_clock_info(handle, self._smi.AmdSmiClkType.GFX)
        return _number(clock["clk"] if "clk" in clock else clock["cur_clk"])  # its name before 6.1

    def _throttle(self, handle: Any, device: str) -> float:
        metrics = self._smi.amdsmi_get_gpu_metrics_info(handle)
        status = metrics.get("indep_throttle_status", "N/A")
        if isinstance(status, bool):  # from 6.2 on only whether, no longer why
            return 8.0 if status else 0.0
        if isinstance(status, int) and status not in _WIDE_SENTINELS:
            return float(sum(reason for reason, bits in _INDEPENDENT.items() if status & bits))
        now = {
            key: float(metrics[key]) for key in _RESIDENCIES if metrics.get(key) not in (None, "N/A", *_WIDE_SENTINELS)
        }
        if not now:
            raise _NoValueError("its metrics name no throttling")
        before = self._residency.get(device, now)
        self._residency[device] = now
        mask = 0
        for key, count in now.items():
            mask |= _RESIDENCIES[key] if count > before.get(key, count) else 0
        return float(mask)


def _number(value: Any, sentinels: tuple[int, ...] = _SENTINELS) -> float:
    """A number that is one: `N/A` and all bits set say that there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value in sentinels:
        raise _NoValueError(f"it shows {value!r}")
    return float(value)


def _words(error: Exception) -> str:
    text = getattr(error, "err_info", "") or str(error)
    return " ".join(str(text).split()) or type(error).__name__
