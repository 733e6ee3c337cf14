"""What all connections of one recorder share: where the upstream is, who writes things down, and who is connected."""

from __future__ import annotations

import ssl
from collections import Counter
from typing import TYPE_CHECKING

from openagentperf.client.endpoint import Address
from openagentperf.recorder.courier import Courier
from openagentperf.recorder.exchange import Exchange
from openagentperf.records.capture import Dialect, Ending

if TYPE_CHECKING:
    from openagentperf.recorder.front import Front


class Proxy:
    """One upstream behind one listening port."""

    def __init__(
        self, address: Address, context: ssl.SSLContext | None, forced: Dialect | None, courier: Courier
    ) -> None:
        self.address = address
        self.port = int(str(address.sockaddr[1]))
        self.url = f"{'https' if address.tls else 'http'}://{address.host}{address.path}"
        """For messages: without a user's password, which the given one may hold."""
        self.context = context
        self.forced = forced
        self.fronts: set[Front] = set()
        self.counts: Counter[str] = Counter()
        """`recorded`, `passed`, and why others were not recorded."""
        self._courier = courier

    def over(self, exchange: Exchange, ending: Ending) -> None:
        """The exchange has ended: hand it over, if it is one to be recorded."""
        if exchange.dialect is None:
            self.counts["passed"] += 1
        elif not exchange.recorded:
            self.counts["too long"] += 1
        elif not exchange.complete:
            self.counts["request not whole"] += 1
        else:
            self.counts["recorded"] += 1
            self._courier.send(exchange.ended(exchange.dialect, ending), exchange.body, exchange.chunks)

    def stop(self) -> None:
        """Cut every connection; what is on its way is recorded as far as it came."""
        for front in list(self.fronts):
            front.stop()
