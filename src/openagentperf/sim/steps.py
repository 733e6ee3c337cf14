"""A worker's time, counted in steps: what many steps take is a sum that is known, so nothing happens at a step where nothing changes.

Between two events a worker's batch, its prefill and the costs of a step stay as they are but for the KV that grows by every token made:

    step      a + g x i               for the i-th step from now
                  a = step_s[batch] + per_kv_token_s x kv + prefill of a chunk
                  g = per_kv_token_s x batch x tokens_per_step: what the tokens of one step add to the next
    m steps   a x m + g x m (m - 1) / 2

Whatever happens takes effect at the end of a step. Busy time, batch and energy are added up on the way.
"""

from __future__ import annotations

from abc import abstractmethod
from math import ceil, sqrt

from openagentperf.sim.jobs import Timers
from openagentperf.sim.spec import PowerDraw
from openagentperf.units import Ns


class Steps:
    """Calls `turn` at the end of the steps that it was armed for."""

    __slots__ = (
        "_a",
        "_at",
        "_decode_w",
        "_g",
        "_idle_w",
        "_metered",
        "_next_step",
        "_next_t",
        "_prefill_metered",
        "_prefill_w",
        "_step",
        "_t",
        "_version",
        "_w",
        "batch",
        "batch_max",
        "batch_ns",
        "busy",
        "busy_ns",
        "energy",
        "prefill_ns",
    )

    def __init__(self, power: PowerDraw, timers: Timers) -> None:
        self._at = timers.at
        self._idle_w, self._decode_w, self._prefill_w = power.idle_w, power.decode_w, power.prefill_w
        self._t: Ns = timers.now
        self._step = 0
        """Steps since the start, at `_t`."""
        self._a = self._g = self._w = 0.0
        """ns; see the module's docstring. `_w`: the prefill in `_a`."""
        self._next_step = 0
        self._next_t: Ns = timers.now
        self._version = 0
        """Of the event asked for last: earlier ones are void."""
        self._metered: Ns = timers.now
        """Up to when busy time and energy are counted: at `_t`, or later."""
        self._prefill_metered = 0.0
        """Of the time since `_t`."""
        self.busy = False
        self.batch = 0
        """Sequences that decode."""
        self.batch_max = 0
        self.batch_ns = 0
        """Integral of the batch over time."""
        self.busy_ns = 0
        self.prefill_ns = 0.0
        self.energy = 0.0
        """W x ns, of one accelerator."""

    @abstractmethod
    def turn(self, now: Ns) -> None:
        """At the end of a step, or from rest: change what changes, set `_a`, `_g`, `_w` and `batch`, then arm or rest."""

    def settle(self, now: Ns) -> None:
        """Bring busy time, batch and energy up to `now`: for readings in between."""
        spent = now - self._metered
        if not self.busy:
            self.energy += self._idle_w * spent
            self._metered = now
        elif spent and self._next_t > self._t:
            prefill = spent * self._w * (self._next_step - self._step) / (self._next_t - self._t)
            self._prefill_metered += prefill
            self._meter(spent, prefill, now)

    def _wake_up(self, now: Ns) -> None:
        self.energy += self._idle_w * (now - self._metered)
        self._t = self._metered = now
        self.busy = True
        self.turn(now)

    def _rest(self) -> None:
        self._version += 1
        self.busy = False

    def _arm(self, step: int) -> None:
        """Have a turn at the end of this step, unless something comes in earlier."""
        self._arm_at(step, self._after(step - self._step))

    def _arm_at(self, step: int, when: Ns) -> None:
        self._next_step = step
        self._next_t = when
        self._version = version = self._version + 1
        self._at(when, self._due, version)

    def _look_in(self, now: Ns) -> None:
        """Have a turn at the end of the step in progress."""
        steps = self._steps_until(now)
        when = self._after(steps)
        if when < now:  # the root was rounded down
            steps += 1
            when = self._after(steps)
        if self._step + steps < self._next_step:
            self._arm_at(self._step + steps, when)

    def _after(self, steps: int) -> Ns:
        """When so many steps from `_t` will have ended."""
        return self._t + int(self._a * steps + self._g * (steps * (steps - 1) / 2) + 0.5)

    def _steps_until(self, now: Ns) -> int:
        """How many steps from `_t` until one ends at `now` or later: at least 1."""
        elapsed = now - self._t
        a, g = self._a, self._g
        if g:
            linear = a - g / 2
            return max(1, ceil(2 * elapsed / (linear + sqrt(linear * linear + 2 * g * elapsed))))
        return max(1, ceil(elapsed / a)) if a else 1

    def _due(self, version: int, now: Ns) -> None:
        if version == self._version:
            self._pass(self._next_step - self._step, now)
            self.turn(now)

    def _pass(self, steps: int, now: Ns) -> None:
        """So many whole steps have ended at `now`."""
        self._meter(now - self._metered, self._w * steps - self._prefill_metered, now)
        self._prefill_metered = 0.0
        self._step += steps
        self._t = now

    def _meter(self, spent: Ns, prefill: float, now: Ns) -> None:
        self.busy_ns += spent
        self.prefill_ns += prefill
        self.batch_ns += self.batch * spent
        self.energy += self._decode_w * (spent - prefill) + self._prefill_w * prefill
        self._metered = now
