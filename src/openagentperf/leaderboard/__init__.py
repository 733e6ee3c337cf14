"""Runs for others to check: bundles, signatures, statements about them, and a static site of those that hold. One import path a name."""
