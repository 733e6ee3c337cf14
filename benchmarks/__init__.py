"""Figures that the documentation quotes, each printed by a module here: `python -m benchmarks.NAME`."""
