"""Which module reads which kind of meter. Imported when asked for: each has its own needs."""

from __future__ import annotations

import importlib

from openagentperf.meters.base import Meter, Spec
from openagentperf.system import AmdSmi, Ipmi, Nvml, Prometheus, Rapl, Redfish, Snmp

_MODULES: dict[type[Spec], tuple[str, str]] = {
    Nvml: ("nvml", "Nvml"),
    AmdSmi: ("amdsmi", "AmdSmi"),
    Rapl: ("rapl", "Rapl"),
    Redfish: ("redfish", "Redfish"),
    Ipmi: ("ipmi", "Ipmi"),
    Prometheus: ("prometheus", "Prometheus"),
    Snmp: ("snmp", "Snmp"),
}


def meter_of(spec: Spec) -> Meter:
    """The meter that a specification describes, not yet opened."""
    module, name = _MODULES[type(spec)]
    found: Meter = getattr(importlib.import_module(f"openagentperf.meters.{module}"), name)(spec)
    return found
