"""Modelled power of the simulated node, and the exporter page that shows it under the names of NVIDIA's DCGM exporter.

    power while a step runs   decode_w + (prefill_w - decode_w) x share of the step's time that is prefill
    power while idle          idle_w

The watts are assumed: those of an accelerator of 700 W that idles at a tenth and decodes at half (decode is bound by memory, prefill by
compute). They let the whole metered path be walked without a meter; every figure made of them says *modelled*.
"""

from __future__ import annotations

from msgspec import Struct

from openagentperf.records.power import MODELLED
from openagentperf.units import NS_PER_S, Ns

DEVICE = "GPU-00000000-simulated"
"""In the label UUID of both metrics."""


class PowerModel(Struct, frozen=True, kw_only=True):
    """Watts of one simulated accelerator."""

    idle_w: float = 70.0
    decode_w: float = 350.0
    prefill_w: float = 700.0


class PowerMeter:
    """Adds up the energy of a replica's steps. Times never fall."""

    def __init__(self, model: PowerModel, now: Ns) -> None:
        self._model = model
        self._at = now
        self._step_ends: Ns | None = None
        self._step_w = model.idle_w
        self._joules = 0.0

    def step(self, begins: Ns, ends: Ns, prefill_share: float) -> None:
        """A step that begins now: idle until here, then its own power until `ends`."""
        self.advance(begins)
        model = self._model
        self._step_ends = ends
        self._step_w = model.decode_w + (model.prefill_w - model.decode_w) * min(1.0, prefill_share)

    def advance(self, now: Ns) -> None:
        if self._step_ends is not None:
            busy_until = min(now, self._step_ends)
            self._joules += self._step_w * max(0, busy_until - self._at) / NS_PER_S
            self._at = max(self._at, busy_until)
            if now < self._step_ends:
                return
            self._step_ends = None
        self._joules += self._model.idle_w * max(0, now - self._at) / NS_PER_S
        self._at = max(self._at, now)

    @property
    def watts(self) -> float:
        """At the time of the last `advance`."""
        return self._model.idle_w if self._step_ends is None else self._step_w

    @property
    def joules(self) -> float:
        """Up to the time of the last `advance`."""
        return self._joules


def page(meter: PowerMeter) -> bytes:
    """Power in W and energy in mJ, as the DCGM exporter writes them."""
    labels = f'{{gpu="0",UUID="{DEVICE}",device="simulated0",modelName="simulated accelerator ({MODELLED})"}}'
    return (
        "# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W), modelled.\n# TYPE DCGM_FI_DEV_POWER_USAGE gauge\n"
        f"DCGM_FI_DEV_POWER_USAGE{labels} {meter.watts:.6f}\n"
        "# HELP DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION Energy since the start (in mJ), modelled.\n"
        "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\n"
        f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{labels} {meter.joules * 1000:.3f}\n"
    ).encode()
