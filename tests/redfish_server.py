"""A small Redfish service over real HTTP or HTTPS, and the resource trees of three kinds of machine.

The trees have the shape of the schemas (DSP8010) and of DMTF's public mock-ups; values are ours. A leaf may be a function: it is called
for every request.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from webserver import Reply, Request, WebServer

Tree: TypeAlias = dict[str, dict[str, Any]]
USER, PASSWORD = "bench", "pass word: ä"


def ref(path: str) -> dict[str, str]:
    return {"@odata.id": path}


def collection(path: str, *names: str) -> Tree:
    return {
        path: {"Name": path, "Members@odata.count": len(names), "Members": [ref(f"{path}/{name}") for name in names]}
    }


def root(**links: str) -> Tree:
    return {
        "/redfish/v1/": {
            "@odata.id": "/redfish/v1/", "@odata.type": "#ServiceRoot.v1_16_0.ServiceRoot", "RedfishVersion": "1.18.0",
            "Links": {"Sessions": ref("/redfish/v1/SessionService/Sessions")},
            **{name: ref(path) for name, path in links.items()},
        }
    }  # fmt: skip


def hgx(watts: Callable[[int], float | None], *, gpus: int = 8) -> Tree:
    """An HGX baseboard behind the BMC of its host: GPUs as processors of a system of their own, chassis inside of one another."""
    board, systems, chassis = "/redfish/v1/Systems/HGX_Baseboard_0", "/redfish/v1/Systems", "/redfish/v1/Chassis"
    names = [f"GPU_SXM_{i + 1}" for i in range(gpus)]
    tree = root(Systems=systems, Chassis=chassis)
    tree |= collection(systems, "HGX_Baseboard_0", "DGX")
    tree |= collection(f"{systems}/DGX/Processors", "CPU_0", "CPU_1")
    tree[f"{systems}/DGX"] = {"Id": "DGX", "SystemType": "Physical", "Processors": ref(f"{systems}/DGX/Processors")}
    for i in range(2):
        path = f"{systems}/DGX/Processors/CPU_{i}"
        tree[path] = {"Id": f"CPU_{i}", "ProcessorType": "CPU", "EnvironmentMetrics": ref(f"{path}/EnvironmentMetrics")}
        tree[f"{path}/EnvironmentMetrics"] = {"PowerWatts": {"Reading": 180.0}}
    tree[board] = {"Id": "HGX_Baseboard_0", "Processors": ref(f"{board}/Processors")}
    tree |= collection(f"{board}/Processors", *names, "FPGA_0")
    tree[f"{board}/Processors/FPGA_0"] = {"Id": "FPGA_0", "ProcessorType": "FPGA"}
    for i, name in enumerate(names):
        path = f"{board}/Processors/{name}"
        sensor = f"{chassis}/HGX_{name}/Sensors/HGX_{name}_Power_0"
        tree[path] = {
            "Id": name, "ProcessorType": "GPU", "Manufacturer": "NVIDIA", "Model": "H200 SXM", "UUID": f"uuid-{i}",
            "EnvironmentMetrics": ref(f"{path}/EnvironmentMetrics"), "Oem": {"Nvidia": {"@odata.type": "#NvidiaProcessor.v1_4_0"}},
        }  # fmt: skip
        tree[f"{path}/EnvironmentMetrics"] = {
            "@odata.type": "#EnvironmentMetrics.v1_3_0.EnvironmentMetrics",
            "PowerWatts": {"DataSourceUri": sensor, "Reading": lambda i=i: watts(i)},
            "EnergyJoules": {"Reading": lambda i=i: None if watts(i) is None else 1000.0 * (i + 1)},
            "PowerLimitWatts": {"AllowableMax": 700, "AllowableMin": 200, "SetPoint": 700},
            "TemperatureCelsius": {"Reading": 55.0}, "Oem": {"Nvidia": {"EDPViolationState": "Normal"}},
        }  # fmt: skip
        tree[sensor] = {
            "ReadingType": "Power", "ReadingUnits": "W", "Reading": 1.0, "AveragingInterval": "PT1S", "SensingInterval": "PT0.1S",
        }  # fmt: skip
    tree |= collection(chassis, "DGX", "HGX_Chassis_0", *(f"HGX_{name}" for name in names))
    tree[f"{chassis}/DGX"] = {
        "Id": "DGX", "ChassisType": "RackMount", "Manufacturer": "NVIDIA", "Model": "DGX H200",
        "EnvironmentMetrics": ref(f"{chassis}/DGX/EnvironmentMetrics"),
        "Links": {"Contains": [ref(f"{chassis}/HGX_Chassis_0")], "ComputerSystems": [ref(f"{systems}/DGX")]},
    }  # fmt: skip
    tree[f"{chassis}/DGX/EnvironmentMetrics"] = {
        "PowerWatts": {"Reading": 9000}, "EnergykWh": {"Reading": 12.34, "SensorResetTime": "2026-01-01T00:00:00Z"},
    }  # fmt: skip
    inner = ["HGX_Chassis_0", *(f"HGX_{name}" for name in names)]
    for name in inner:
        outer = "HGX_Chassis_0" if name != "HGX_Chassis_0" else "DGX"
        path = f"{chassis}/{name}"
        tree[path] = {
            "Id": name, "ChassisType": "Module" if name == "HGX_Chassis_0" else "Component",
            "EnvironmentMetrics": ref(f"{path}/EnvironmentMetrics"), "Links": {"ContainedBy": ref(f"{chassis}/{outer}")},
        }  # fmt: skip
        tree[f"{path}/EnvironmentMetrics"] = {"PowerWatts": {"Reading": 5600.0 if name == "HGX_Chassis_0" else 700.0}}
    return tree


def server(watts: Callable[[], float | None], *, supplies: bool) -> Tree:
    """A server whose BMC has no EnvironmentMetrics: PowerSubsystem with two supplies (as of 2020.4), or the Power resource before it."""
    chassis, path = "/redfish/v1/Chassis", "/redfish/v1/Chassis/1"
    tree = root(Chassis=chassis) | collection(chassis, "1", "DE00C000")
    tree[path] = {"Id": "1", "ChassisType": "RackMount", "Manufacturer": "HPE", "Model": "ProLiant", "Links": {}}
    tree[f"{chassis}/DE00C000"] = {"Id": "DE00C000", "ChassisType": "StorageEnclosure", "Name": "drives"}
    if not supplies:
        tree[path]["Power"] = ref(f"{path}/Power")
        tree[f"{path}/Power"] = {
            "PowerControl": [
                {
                    "@odata.id": f"{path}/Power#/PowerControl/0", "MemberId": "0", "PowerCapacityWatts": 1600,
                    "PowerConsumedWatts": watts, "PowerMetrics": {"AverageConsumedWatts": 99, "IntervalInMin": 20},
                }
            ],
            "PowerSupplies": [{"LastPowerOutputWatts": 240}], "Redundancy": [],
        }  # fmt: skip
        return tree
    subsystem = f"{path}/PowerSubsystem"
    tree[path]["PowerSubsystem"] = ref(subsystem)
    tree[subsystem] = {
        "Allocation": {"AllocatedWatts": 1200, "RequestedWatts": 1500}, "CapacityWatts": 2000,
        "PowerSupplies": ref(f"{subsystem}/PowerSupplies"),
    }  # fmt: skip
    tree |= collection(f"{subsystem}/PowerSupplies", "Bay1", "Bay2", "Bay3")
    for i in (1, 2, 3):
        bay = f"{subsystem}/PowerSupplies/Bay{i}"
        tree[bay] = {
            "Id": f"Bay{i}",
            "Metrics": ref(f"{bay}/Metrics"),
            "Status": {"State": "Absent" if i == 3 else "Enabled"},
        }
        tree[f"{bay}/Metrics"] = {"InputPowerWatts": {"Reading": watts}, "OutputPowerWatts": {"Reading": 1.0}}
    return tree


def pdu(*, total: bool = True, mains: bool = True, units: tuple[str, ...] = ("1",)) -> Tree:
    """A rack PDU with two mains of three outlets each."""
    power = "/redfish/v1/PowerEquipment"
    tree = root(PowerEquipment=power)
    tree[power] = {"RackPDUs": ref(f"{power}/RackPDUs"), "Status": {"State": "Enabled"}}
    tree |= collection(f"{power}/RackPDUs", *units)
    for unit in units:
        path = f"{power}/RackPDUs/{unit}"
        tree[path] = {
            "Id": unit,
            "EquipmentType": "RackPDU",
            "Manufacturer": "Contoso",
            "Model": "ZAP4000",
            "Outlets": ref(f"{path}/Outlets"),
        }
        if total:
            tree[path]["Metrics"] = ref(f"{path}/Metrics")
            tree[f"{path}/Metrics"] = {
                "PowerWatts": {"Reading": 6300.0, "ApparentVA": 6400},
                "EnergykWh": {"Reading": 325675.5},
            }
        if mains:
            tree[path]["Mains"] = ref(f"{path}/Mains")
            tree |= collection(f"{path}/Mains", "AC1", "AC2")
            for i in (1, 2):
                tree[f"{path}/Mains/AC{i}"] = {
                    "Name": f"Mains {i}",
                    "PowerWatts": {"Reading": 3000.0 + 100 * i},
                    "EnergykWh": {"Reading": 7.0},
                }
        names = [f"{bank}{i}" for bank in "AB" for i in (1, 2, 3)]
        tree |= collection(f"{path}/Outlets", *names)
        for i, name in enumerate(names):
            tree[f"{path}/Outlets/{name}"] = {
                "Name": f"Outlet {name}",
                "PowerWatts": {"Reading": 1000.0 * (name != "B3") + i},
            }
    return tree


class RedfishServer(WebServer):
    """Serves `tree` to those who are signed in. Change its attributes at any time.

    sessions   0: the service has none (404); else so many may be open at once (then 503)
    basic      whether Basic is taken
    guarded    whether resources need a sign-in at all (the root never does)
    """

    def __init__(
        self, tree: Tree, context: ssl.SSLContext | None = None, *, sessions: int = 4, guarded: bool = True
    ) -> None:
        super().__init__(self._service, context)
        self.tree = tree
        self.sessions, self.basic, self.guarded = sessions, True, guarded
        self.tokens: dict[str, str] = {}
        """Path of each open session: its token."""
        self._count = 0

    def asked(self, path: str) -> int:
        return sum(request.path == path for request in self.requests)

    def _service(self, request: Request) -> Reply:
        path = request.path
        if request.method == "POST":
            return self._sign_in(request)
        if path == "/redfish/v1/":
            return self._json(self.tree[path])
        token = request.headers.get("x-auth-token", "")
        if self.guarded and token not in self.tokens.values() and not (self.basic and self._is_basic(request)):
            return Reply(401, b'{"error":{"code":"Base.1.18.NoValidSession"}}', {"WWW-Authenticate": "Basic"})
        if request.method == "DELETE":
            return Reply(204 if self.tokens.pop(path, None) else 404)
        return self._json(self.tree[path]) if path in self.tree else Reply(404, b'{"error":{}}')

    def _sign_in(self, request: Request) -> Reply:
        if not self.sessions or request.path != "/redfish/v1/SessionService/Sessions":
            return Reply(404, b'{"error":{}}')
        if len(self.tokens) >= self.sessions:
            return Reply(503, b'{"error":{"code":"Base.1.18.SessionLimitExceeded"}}')
        if json.loads(request.body) != {"UserName": USER, "Password": PASSWORD}:
            return Reply(401, b'{"error":{}}')
        self._count += 1
        path, token = f"/redfish/v1/SessionService/Sessions/{self._count}", f"token-{self._count}"
        self.tokens[path] = token
        return self._json(ref(path), 201, {"X-Auth-Token": token, "Location": self.url + path})

    def _is_basic(self, request: Request) -> bool:
        right = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {right}"

    def _json(self, resource: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        body = json.dumps(resource, default=lambda value: value()).encode()
        return Reply(status, body, {"Content-Type": "application/json", "OData-Version": "4.0", **(headers or {})})
