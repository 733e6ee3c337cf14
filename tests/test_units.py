"""Figures as text: never in powers of ten, which nobody reads at a glance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.units import significant


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.01234, 3, "0.0123"),
        (57.5, 3, "57.5"),
        (999.4, 3, "999"),
        (999.7, 3, "1,000"),  # %.3g: 1e+03
        (1234.0, 3, "1,234"),
        (12345.6, 4, "12,346"),  # %.4g: 1.235e+04
        (61354.2, 4, "61,354"),
        (0.0, 3, "0"),
    ],
)
def test_significant_digits(value: float, digits: int, text: str):
    assert significant(value, digits) == text


@given(st.floats(1e-4, 1e12), st.integers(1, 6))
def test_reads_back_within_half_of_its_last_digit(value: float, digits: int):
    text = significant(value, digits)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.5 * 10 ** (1 - digits) * 1.001)
