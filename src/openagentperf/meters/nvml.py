"""NVIDIA's GPUs on this host, by the driver's own library (NVML) through `nvidia-ml-py`.

    energy   mJ since the driver was loaded: nvmlDeviceGetTotalEnergyConsumption (Volta and later, an update about every 100 ms);
             scope module: field 191
    power    mW at this moment: field 186; where the driver has none, nvmlDeviceGetPowerUsage, which is a 1-s average from Ampere on
             (but not on GA100)

Both are read at every poll: the counter is known to disagree with the integral on some cards, and only both together show it. Cap, clock
and throttle reasons are read once a second: they explain the number and do not make it.

A GPU shows what it draws whoever uses it: CUDA_VISIBLE_DEVICES hides nothing from NVML, and a MIG instance has no sensor of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn, TypeAlias

from openagentperf.client.clock import now_ns
from openagentperf.errors import MeterError
from openagentperf.meters.base import failed, stamped
from openagentperf.records.power import DeviceFacts, MeterFacts, Quantity, Reading
from openagentperf.system import Nvml as Spec
from openagentperf.units import NS_PER_S, Ns

THROTTLE = {
    0x004: "power cap", 0x008: "hardware slowdown", 0x010: "sync boost", 0x020: "software thermal", 0x040: "hardware thermal",
    0x080: "power brake", 0x100: "display clocks", 0x200: "board limit", 0x400: "reliability",
}  # fmt: skip
"""Bits of a `throttle` reading in words."""
_NO_THROTTLE = 0x001 | 0x002
"""Idle, and clocks that someone has set: the driver lists them among the reasons, and neither slows a working GPU unasked."""

_POWER_AVERAGE, _POWER_INSTANT, _POWER_LIMIT, _ENERGY = 185, 186, 190, 191
_SCOPES = {"gpu": 0, "module": 1}
_VALUE_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Members of a field value's union, in the order of its type codes."""
_STATES_EVERY_NS: Ns = NS_PER_S

_FIXES = {
    "LIBRARY_NOT_FOUND": "install NVIDIA's driver; in a container, start it with --gpus all and NVIDIA_DRIVER_CAPABILITIES=all",
    "DRIVER_NOT_LOADED": "load it (modprobe nvidia, as root), or reboot after an upgrade",
    "LIB_RM_VERSION_MISMATCH": "library and kernel module are of different versions: reboot",
    "NO_PERMISSION": "give this user access to /dev/nvidia*, or name in `devices` those that it may read",
    "OPERATING_SYSTEM": "a container or cgroup keeps the device back: pass it in, or name in `devices` those that are there",
    "GPU_IS_LOST": "it has fallen off the bus: look for Xid in dmesg, and reboot",
    "RESET_REQUIRED": "reset it (nvidia-smi --gpu-reset, as root), or reboot",
    "INSUFFICIENT_POWER": "connect its external power cables",
    "IRQ_ISSUE": "the kernel has no interrupt for it: look into dmesg",
    "TIMEOUT": "the driver does not answer: look for Xid in dmesg, and reset the GPU",
    "FUNCTION_NOT_FOUND": "the driver is older than the library's binding: update it",
    "ARGUMENT_VERSION_MISMATCH": "driver and nvidia-ml-py do not fit together: update the older one",
}  # fmt: skip
"""What to do, for the codes that have a remedy of their own."""

_Ask: TypeAlias = Callable[[], float]


class _NoValueError(Exception):
    """The driver answered, and its answer is no value."""


class _Sensor(NamedTuple):
    quantity: Quantity
    ask: _Ask
    """In the quantity's unit. Raises NVMLError, or _NoValueError."""


class _Gpu(NamedTuple):
    facts: DeviceFacts
    sensors: tuple[_Sensor, ...]
    states: tuple[_Sensor, ...]


class Nvml:
    """See the module's docstring. Implements meters.base.Meter."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._where = f"meter {spec.name}"
        self._nvml: Any = None
        self._gpus: tuple[_Gpu, ...] = ()
        self._states_due_ns: Ns = 0
        self._notes: list[str] = []

    def open(self) -> MeterFacts:
        spec = self._spec
        self._notes = []
        try:
            nvml = importlib.import_module("pynvml")
        except ModuleNotFoundError as error:
            raise MeterError(
                self._where, "the package nvidia-ml-py is not installed", "NVML is read through it",
                "pip install 'openagentperf[power]'",
            ) from error  # fmt: skip
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self._refuse(nvml, error, "NVML does not start")
        self._nvml = nvml
        try:
            driver = nvml.nvmlSystemGetDriverVersion()
            self._gpus = tuple(self._gpu(handle, driver) for handle in self._handles())
        except nvml.NVMLError as error:
            self._refuse(nvml, error, "a GPU cannot be read")
        return MeterFacts(
            name=spec.name,
            kind="nvml",
            boundary=spec.boundary,
            basis=spec.basis,
            source=f"libnvidia-ml.so.1, driver {driver}",
            devices=tuple(gpu.facts for gpu in self._gpus),
            period_s=spec.period_s,
            max_gap_s=spec.max_gap_s,
            stale_s=spec.stale_s,
            notes=tuple(self._notes),
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
        if self._nvml is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml = None

    def _reading(self, device: str, sensor: _Sensor) -> Reading:
        value, why = 0.0, ""
        with stamped() as stamp:
            try:
                value = sensor.ask()
            except _NoValueError as error:
                why = str(error)
            except Exception as error:  # noqa: BLE001 - NVMLError has no name here before the import; a poll never raises
                why = _words(error)
        if why:
            return failed(self._spec, device, sensor.quantity, stamp, why)
        return Reading(
            meter=self._spec.name, device=device, quantity=sensor.quantity, t_ns=stamp.t_ns, spread_ns=stamp.spread_ns, value=value
        )  # fmt: skip

    # -- what there is -----------------------------------------------------------------------------------------------------------

    def _handles(self) -> Iterator[Any]:
        nvml, wanted = self._nvml, self._spec.devices
        count = nvml.nvmlDeviceGetCount()
        if not count:
            raise MeterError(
                self._where, "the driver shows no GPU", "at least one is needed", _FIXES["OPERATING_SYSTEM"]
            )
        if not wanted:
            for index in range(count):
                try:
                    yield nvml.nvmlDeviceGetHandleByIndex(index)
                except nvml.NVMLError as error:
                    self._refuse(nvml, error, f"GPU {index} of {count} cannot be read")
        for uuid in wanted:
            try:
                handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
            except nvml.NVMLError as error:
                if error.value not in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
                    self._refuse(nvml, error, f"`{uuid}` cannot be read")
                seen = ", ".join(self._seen(count)) or "none that can be read"
                raise MeterError(
                    self._where, f"there is no GPU `{uuid}`", "devices are named by their UUID", f"use one of: {seen}"
                ) from error
            if nvml.nvmlDeviceIsMigDeviceHandle(handle).value:
                whole = nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle))
                raise MeterError(
                    self._where, f"`{uuid}` is a MIG instance", "power is that of a whole GPU", f"name its GPU: {whole}"
                )
            yield handle

    def _seen(self, count: int) -> Iterator[str]:
        for index in range(count):
            with suppress(self._nvml.NVMLError):
                yield self._nvml.nvmlDeviceGetUUID(self._nvml.nvmlDeviceGetHandleByIndex(index))

    def _gpu(self, handle: Any, driver: str) -> _Gpu:
        nvml, scope = self._nvml, self._spec.scope
        uuid: str = nvml.nvmlDeviceGetUUID(handle)
        lost: list[tuple[str, Exception]] = []

        def first(what: str, *asks: tuple[_Ask, float | None]) -> tuple[_Ask | None, float | None]:
            """The first that gives a value, and over how long it is an average."""
            for ask, averaged_s in asks:
                try:
                    if ask() > 0:
                        return ask, averaged_s
                    lost.append((what, _NoValueError("it shows 0")))
                except (nvml.NVMLError, _NoValueError) as error:
                    lost.append((what, error))
            return None, None

        def field(number: int) -> _Ask:
            return lambda: self._field(handle, number)

        if scope == "gpu":
            energy, _ = first("energy counter", (lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000, None))
            usage = (lambda: self._usage(handle), self._usage_averaged_s(handle))
            power, averaged_s = first("power", (field(_POWER_INSTANT), 0.0), usage)
            cap, _ = first("power cap", (lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000, None))
        else:
            energy, _ = first("energy counter", (field(_ENERGY), None))
            power, averaged_s = first("power", (field(_POWER_INSTANT), 0.0), (field(_POWER_AVERAGE), 1.0))
            cap, _ = first("power cap", (field(_POWER_LIMIT), None))
        if energy is None and power is None:
            other = 'scope = "gpu"' if scope == "module" else "an external meter"
            worst = next((error for _, error in lost if not self._absent(error)), None)
            if isinstance(worst, nvml.NVMLError):
                self._refuse(nvml, worst, f"`{uuid}` gives neither energy nor power")
            none = f"`{uuid}` has no sensor for the scope `{scope}`"
            raise MeterError(self._where, none, "an energy counter or a power value is needed", f"use {other}")
        self._notes += [f"{uuid}: {what} not used: {_words(error)}" for what, error in lost if not self._absent(error)]
        if self._mig(handle):
            self._notes.append(
                f"{uuid}: MIG is on; its power is that of the whole GPU, whoever uses the other instances"
            )
        states: list[tuple[Quantity, _Ask]] = [("power_cap", cap)] if cap is not None else []
        states.append(("clock", lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))))
        states.append(("throttle", lambda: self._throttle(handle)))
        facts = DeviceFacts(
            device=uuid,
            name=nvml.nvmlDeviceGetName(handle),
            scope=scope,
            counter=energy is not None,
            averaged_s=averaged_s,
            power_cap_w=None if cap is None else cap(),
            driver=driver,
        )
        sensors = [_Sensor("energy", energy)] if energy is not None else []
        sensors += [_Sensor("power", power)] if power is not None else []
        return _Gpu(facts, tuple(sensors), tuple(_Sensor(what, ask) for what, ask in states if self._answers(ask)))

    # -- single values -----------------------------------------------------------------------------------------------------------

    def _field(self, handle: Any, number: int) -> float:
        """A field in W or J: all that are asked for here are in thousandths."""
        (value,) = self._nvml.nvmlDeviceGetFieldValues(handle, [(number, _SCOPES[self._spec.scope])])
        if value.nvmlReturn:
            raise self._nvml.NVMLError(value.nvmlReturn)
        if value.valueType >= len(_VALUE_FIELDS):
            raise _NoValueError(f"field {number} is of the unknown type {value.valueType}")
        thousandths = float(getattr(value.value, _VALUE_FIELDS[value.valueType]))
        return thousandths / 1000 if number == _ENERGY else self._above_0(thousandths / 1000)

    def _usage(self, handle: Any) -> float:
        return self._above_0(self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000)

    @staticmethod
    def _above_0(watts: float) -> float:
        """Missing is not zero: no GPU that answers draws nothing."""
        if watts <= 0:
            raise _NoValueError(f"it shows {watts:g} W, which no GPU that is on draws")
        return watts

    def _throttle(self, handle: Any) -> float:
        try:
            mask = self._nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        except self._nvml.NVMLError_FunctionNotFound:  # drivers before 535 know it by its old name
            mask = self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return float(mask & ~_NO_THROTTLE)

    def _usage_averaged_s(self, handle: Any) -> float | None:
        """Over how long nvmlDeviceGetPowerUsage is an average: 1 s above compute capability 8.0, which is GA100's; None: not known."""
        try:
            return 1.0 if tuple(self._nvml.nvmlDeviceGetCudaComputeCapability(handle)) > (8, 0) else 0.0
        except self._nvml.NVMLError:
            return None

    def _mig(self, handle: Any) -> bool:
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(handle)[0])
        except self._nvml.NVMLError:  # cards without MIG
            return False

    def _answers(self, ask: _Ask) -> bool:
        try:
            ask()
        except (self._nvml.NVMLError, _NoValueError):
            return False
        return True

    def _absent(self, error: Exception) -> bool:
        """A card or a driver that has no such sensor, which is nothing to complain of."""
        nvml = self._nvml
        codes = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT)
        return getattr(error, "value", None) in codes

    def _refuse(self, nvml: Any, error: Any, what: str) -> NoReturn:
        self.close()
        names = (name for name in _FIXES if getattr(nvml, f"NVML_ERROR_{name}", None) == error.value)
        fix = _FIXES.get(next(names, ""), "see whether nvidia-smi works on this host, and look into dmesg")
        raise MeterError(self._where, f"{what} ({_words(error)})", "a working NVIDIA driver is needed", fix) from error


def _words(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
