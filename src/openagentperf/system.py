"""The system under test as it is declared: what there is, what it is rated at, what it costs, and which meters read it.

A `[system]` table of a plan, or a file of its own (`system.toml`; `--system FILE`, or the name of a catalogue entry). Declared, never
derived: an inventory that telemetry could change would let a result choose its own divisor.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from openagentperf.units import Count, CountOrZero, PositiveSeconds

Usd: TypeAlias = Annotated[float, Meta(ge=0)]
Watts: TypeAlias = Annotated[float, Meta(gt=0)]
Pue: TypeAlias = Annotated[float, Meta(ge=1, le=5)]


class Pool(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Accelerators of one role; all pools together are the inventory."""

    name: str
    """`prefill`, `decode`, `spare`, ..."""
    accelerators: Count


class Price(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an hour of the whole system costs: rented (`usd_per_hour`), or owned (`capex_usd` over `years`, and power at `usd_per_kwh`).

    Owned: capex_usd / (years x 8,766 h) + opex_usd_per_hour + facility power (or the outermost measured, x pue) x usd_per_kwh.
    """

    usd_per_hour: Usd | None = None
    """Everything included, power too."""
    capex_usd: Usd | None = None
    years: Annotated[float, Meta(gt=0, le=50)] | None = None
    usd_per_kwh: Usd | None = None
    opex_usd_per_hour: Usd = 0.0
    """Space, people, network: what is neither hardware nor power."""


class _Meter(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What every meter has."""

    name: str
    boundary: Literal["accelerator", "node", "rack"]
    """What it covers. `facility` is declared (System.pue), never read."""
    basis: Literal["measured", "modelled"] = "measured"
    devices: tuple[str, ...] = ()
    """Exactly these, as the meter names them; (): whatever it finds, which must then be as many as declared."""
    period_s: PositiveSeconds = 0.1
    """Between two polls on average."""
    max_gap_s: PositiveSeconds = 3.0
    stale_s: PositiveSeconds = 3.0


class Nvml(_Meter, frozen=True, tag="nvml"):
    """NVIDIA's driver on this host."""

    scope: Literal["gpu", "module"] = "gpu"
    """GH200 and GB200 have both; never both in one sum."""


class AmdSmi(_Meter, frozen=True, tag="amdsmi"):
    """AMD's driver on this host, through the `amdsmi` package that ROCm ships."""


class Rapl(_Meter, frozen=True, tag="rapl"):
    """CPU packages (and DRAM) of this host by the powercap files: for systems whose CPUs hold the model. They are no node: fans, network
    cards and what the power supplies lose are not in them."""

    boundary: Literal["accelerator"]
    path: str = "/sys/class/powercap"
    zones: tuple[str, ...] = ("package", "dram")
    """Zones whose name begins so; their sub-zones are inside the package and never added to it."""


class Redfish(_Meter, frozen=True, tag="redfish"):
    """A BMC, a rack manager or a PDU that speaks Redfish."""

    url: str
    """https://bmc.example"""
    paths: tuple[str, ...] = ()
    """Resources to read; (): every Chassis' EnvironmentMetrics or PowerSubsystem (boundary node, rack), every accelerator's
    EnvironmentMetrics (boundary accelerator), found from /redfish/v1."""
    user_env: str = ""
    password_env: str = ""
    """Names of the environment variables that hold them: a secret never stands in a plan."""
    ca_file: str = ""
    insecure: bool = False
    """Do not check the certificate (BMCs often have their own); recorded in the result."""


class Ipmi(_Meter, frozen=True, tag="ipmi"):
    """DCMI power readings through `ipmitool`, of this host or of one reached over the network."""

    host: str = ""
    user_env: str = ""
    password_env: str = ""
    interface: str = "lanplus"


class Prometheus(_Meter, frozen=True, tag="prometheus"):
    """An exporter's /metrics page (DCGM exporter, a PDU's), or a Prometheus server's query API."""

    url: str
    query: str | tuple[str, ...] = ""
    """PromQL, for a server; "": `url` is an exporter's page. Several, such as DCGM's energy counter and its power, are asked as one."""
    metric: str = ""
    """Name of the metric; "": DCGM's names, energy counter first."""
    quantity: Literal["", "power", "energy"] = ""
    """"" tells it from the metric's name and type."""
    scale: Annotated[float, Meta(gt=0)] = 1.0
    """Watts or joules a unit of the metric (DCGM's energy counter: 0.001, known by its name)."""
    labels: dict[str, str] = {}
    """Only series with all of these."""
    device_label: str = ""
    """Label that names a device; "": UUID, else gpu, else instance."""
    token_env: str = ""
    ca_file: str = ""


class Snmp(_Meter, frozen=True, tag="snmp"):
    """A PDU by SNMP."""

    host: str
    """Address, with :port where it is not 161."""
    oids: Annotated[tuple[str, ...], Meta(min_length=1)]
    """One for each outlet or inlet, in numbers; `OID=NAME` names the device."""
    quantity: Literal["power", "energy"] = "power"
    scale: Annotated[float, Meta(gt=0)] = 1.0
    community_env: str = ""
    """Name of the variable that holds the community (v2c); "": `public`."""
    user_env: str = ""
    """Name of the variable that holds the user of SNMPv3; "": v2c."""
    auth_env: str = ""
    """Name of the variable that holds the user's pass phrase; "": no authentication."""
    auth: Literal["md5", "sha1", "sha224", "sha256", "sha384", "sha512"] = "sha1"
    privacy_env: str = ""
    """Name of the variable that holds the pass phrase for encryption; "": none."""
    privacy: Literal["des", "aes128"] = "aes128"


Meter: TypeAlias = Nvml | AmdSmi | Rapl | Redfish | Ipmi | Prometheus | Snmp


class System(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The declared inventory, for normalisation. Never derived from telemetry or parallelism flags."""

    name: str = ""
    accelerator: str = ""
    accelerators: CountOrZero = 0
    """All that hold the model or are inside its parallel group, spares included; 0: not declared."""
    pools: tuple[Pool, ...] = ()
    """Where given, their sum must be `accelerators` (which may then be left out)."""
    hosts: CountOrZero = 0
    racks: Annotated[float, Meta(ge=0)] = 0.0
    """May be a part of one: 32 GPUs of an NVL72 are 0.44."""
    rated_accelerator_w: Watts | None = None
    """Nameplate of one accelerator: gives the *rated* figure, never mixed with a measured one."""
    rated_rack_w: Watts | None = None
    """Provisioned power of one rack."""
    pue: Pue | None = None
    """Power usage effectiveness, declared: facility power = pue x the outermost measured boundary of node or rack."""
    price: Price | None = None
    source: str = ""
    """Where the ratings and prices come from, with date."""
    load_on_system: bool = False
    """The load generator runs on a host whose power is in the node boundary: node and rack power are then not the system's own."""
    meters: tuple[Meter, ...] = ()
