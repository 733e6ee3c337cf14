"""A worker's time, counted in steps: what many steps take is a sum that is known, so nothing happens at a step where nothing changes.

Between two events a worker's batch, its prefill and the costs of a step stay as they are but for the KV that grows by every token made:

    step      a + g x i               for the i-th step from now
                  a = step_s[batch] + per_kv_token_s x kv + prefill of a chunk + wait for the others of a lockstep group
                  g = per_kv_token_s x batch x tokens_per_step: what the tokens of one step add to the next
    m steps   a x m + g x m (m - 1) / 2

Whatever happens takes effect at the end of a step. Busy time, its parts (decode, prefill, wait), batch and energy are added up on the way.
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
        "_wait",
        "_wait_metered",
        "_wait_w",
        "batch",
        "batch_max",
        "batch_ns",
        "busy",
        "busy_ns",
        "energy",
        "prefill_ns",
        "wait_ns",
    )

    def __init__(self, power: PowerDraw, timers: Timers) -> None:
        self._at = timers.at
        self._idle_w, self._decode_w, self._prefill_w = power.idle_w, power.decode_w, power.prefill_w
        self._wait_w = power.idle_w if power.wait_w is None else power.wait_w
        self._t: Ns = timers.now
        self._step = 0
        """Steps since the start, at `_t`."""
        self._a = self._g = self._w = self._wait = 0.0
        """ns; see the module's docstring. `_w`: the prefill in `_a`, `_wait`: the wait in it."""
        self._next_step = 0
        self._next_t: Ns = timers.now
        self._version = 0
        """Of the event asked for last: earlier ones are void."""
        self._metered: Ns = timers.now
        """Up to when busy time and energy are counted: at `_t`, or later."""
        self._prefill_metered = self._wait_metered = 0.0
        """Of the time since `_t`."""
        self.busy = False
        self.batch = 0
        """Sequences that decode."""
        self.batch_max = 0
        self.batch_ns = 0
        """Integral of the batch over time."""
        self.busy_ns = 0
        self.prefill_ns = 0.0
        """Of the busy time, prefill of its own: the rest is decode and `wait_ns`."""
        self.wait_ns = 0.0
        """Of the busy time, what a step is longer than its own work, for the slowest of its lockstep group."""
        self.energy = 0.0
        """W x ns, of one accelerator."""

    @abstractmethod
    def turn(self, now: Ns) -> None:
        """At the end of a step, or from rest: change what changes, set `_a`, `_g`, `_w`, `_wait` and `batch`, then arm or rest."""

    def settle(self, now: Ns) -> None:
        """Bring busy time, batch and energy up to `now`: for readings in between."""
        spent = now - self._metered
        if not self.busy:
            self.energy += self._idle_w * spent
            self._metered = now
        elif spent and self._next_t > self._t:
            steps_a_ns = (self._next_step - self._step) / (self._next_t - self._t)
            prefill, wait = spent * self._w * steps_a_ns, spent * self._wait * steps_a_ns
            self._prefill_metered += prefill
            self._wait_metered += wait
            self._meter(spent, prefill, wait, now)

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
        self._next_step = step
        self._next_t = when = self._end_of(step)
        self._version = version = self._version + 1
        self._at(when, self._due, version)

    def _look_in(self, now: Ns) -> None:
        """Have a turn at the end of the step in progress."""
        elapsed = now - self._t
        a, g = self._a, self._g
        steps = 1
        if elapsed > a:  # else it is the first
            if g:
                linear = a - g / 2
                steps = ceil(2 * elapsed / (linear + sqrt(linear * linear + 2 * g * elapsed)))
            elif a:
                steps = ceil(elapsed / a)
        after = self._step + steps
        if after >= self._next_step:
            return
        if self._end_of(after) < now:  # the root was rounded down
            after += 1
        if after < self._next_step:
            self._arm(after)

    def _end_of(self, step: int) -> Ns:
        steps = step - self._step
        return self._t + int(self._a * steps + self._g * (steps * (steps - 1) / 2) + 0.5)

    def _due(self, version: int, now: Ns) -> None:
        if version != self._version:
            return
        steps = self._next_step - self._step
        prefill, wait = self._w * steps - self._prefill_metered, self._wait * steps - self._wait_metered
        self._meter(now - self._metered, prefill, wait, now)
        self._prefill_metered = self._wait_metered = 0.0
        self._step = self._next_step
        self._t = now
        self.turn(now)

    def _meter(self, spent: Ns, prefill: float, wait: float, now: Ns) -> None:
        self.busy_ns += spent
        self.prefill_ns += prefill
        self.wait_ns += wait
        self.batch_ns += self.batch * spent
        self.energy += self._decode_w * (spent - prefill - wait) + self._prefill_w * prefill + self._wait_w * wait
        self._metered = now
