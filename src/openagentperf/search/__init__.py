"""Told what passed, says which level to measure next: ramp, bisect, certify (docs/methodology.md#capacity)."""
