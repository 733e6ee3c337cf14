"""The unit that the name of a metric or of a column says: `scaph_host_power_microwatts`, `P / kW`, `pdu_energy_kwh`.

A value in kW that is taken for W gives a thousand times the agents a megawatt, and nothing else about it looks wrong. Units that are a
word are found anywhere in a name; those of two or three letters only where they stand by themselves, as written first (mW, MW), else in
lower case, where `mw` may be either: then there is a unit, and no scale to name.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

_Measured: TypeAlias = Literal["power", "energy"]


class Unit(NamedTuple):
    """What a name says."""

    name: str
    quantity: _Measured
    scale: float | None
    """W or J a unit; None: thousandths or millions, the name does not say which."""


_WORDS: tuple[tuple[str, _Measured, float], ...] = (
    ("microwatt", "power", 1e-6), ("milliwatt", "power", 1e-3), ("kilowatthour", "energy", 3.6e6), ("megawatthour", "energy", 3.6e9),
    ("watthour", "energy", 3600.0), ("wattsecond", "energy", 1.0), ("kilowatt", "power", 1e3), ("megawatt", "power", 1e6),
    ("microjoule", "energy", 1e-6), ("millijoule", "energy", 1e-3), ("kilojoule", "energy", 1e3), ("megajoule", "energy", 1e6),
    ("kwh", "energy", 3.6e6), ("joule", "energy", 1.0), ("watt", "power", 1.0),
)  # fmt: skip
"""In the order in which they are looked for."""
_AS_WRITTEN: dict[str, tuple[_Measured, float]] = {
    "mW": ("power", 1e-3), "MW": ("power", 1e6), "mJ": ("energy", 1e-3), "MJ": ("energy", 1e6), "mWh": ("energy", 3.6),
    "MWh": ("energy", 3.6e9),
}  # fmt: skip
_ANY_CASE: dict[str, tuple[_Measured, float | None]] = {
    "kw": ("power", 1e3), "uw": ("power", 1e-6), "µw": ("power", 1e-6), "wh": ("energy", 3600.0), "kj": ("energy", 1e3),
    "uj": ("energy", 1e-6), "µj": ("energy", 1e-6), "ws": ("energy", 1.0), "mw": ("power", None), "mj": ("energy", None),
    "mwh": ("energy", None),
}  # fmt: skip
_AT_END = re.compile(r"(?:[kmM]W|[kmM]?Wh|[kmM]J)$")
"""As written, behind a word."""


def unit_of(name: str) -> Unit | None:
    """The unit that a name says; None where it says none."""
    squeezed = name.lower().replace("_", "").replace(" ", "")
    for word, quantity, scale in _WORDS:
        if word in squeezed:
            return Unit(word, quantity, scale)
    for token in re.split(r"[\W\d_]+", name.replace("μ", "µ")):  # the Greek letter is not the sign
        end = _AT_END.search(token)  # EnergyWh, PowerkW
        for text in (token, end[0]) if end else (token,):
            found = _AS_WRITTEN.get(text) or _ANY_CASE.get(text.lower())
            if found is not None:
                return Unit(text, *found)
    return None
