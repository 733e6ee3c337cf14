"""Trajectories as bytes ready to send: importers, the generator, the prefix proof, the compiled form and its statistics. Pure."""
