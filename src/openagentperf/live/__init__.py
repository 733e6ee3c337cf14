"""A run folder seen while it grows: what faces and exporters show of it."""
