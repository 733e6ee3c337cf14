"""A unit in a name is found, and a name without one is left alone."""

from __future__ import annotations

import pytest

from openagentperf.meters.unitnames import Unit, unit_of

NAMES = {
    "scaph_host_power_microwatts": ("microwatt", "power", 1e-6),
    "pdu_energy_kwh": ("kwh", "energy", 3.6e6),
    "Energy (Watt Hours)": ("watthour", "energy", 3600.0),
    "node_power_watt": ("watt", "power", 1.0),
    "node_rapl_package_joules_total": ("joule", "energy", 1.0),
    "pdu_power_kw": ("kw", "power", 1e3),
    "P / kW": ("kW", "power", 1e3),
    "Leistung [kW]": ("kW", "power", 1e3),
    "Urms1, Pk1 (mW)": ("mW", "power", 1e-3),
    "P (MW)": ("MW", "power", 1e6),
    "rack_power_mw": ("mw", "power", None),  # thousandths or millions
    "P in µW": ("µW", "power", 1e-6),
    "WP1 Wh": ("Wh", "energy", 3600.0),
    "Oem/EnergyWh": ("Wh", "energy", 3600.0),
    "PowerkW": ("kW", "power", 1e3),
    "PkW": ("kW", "power", 1e3),
    "E [MJ]": ("MJ", "energy", 1e6),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_in_a_name_is_found(name: str) -> None:
    assert unit_of(name) == Unit(*NAMES[name])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["DCGM_FI_DEV_POWER_USAGE", "Power", "P1", "when", "whole", "ipmi_power", "W", "", "Watson", "knowhow"]
)
def test_a_name_without_a_unit_says_none(name: str) -> None:
    assert unit_of(name) is None
