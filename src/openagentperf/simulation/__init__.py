"""Jobs on a virtual clock: the search and the judge of a real run, over simulated phases (docs/simulate.md)."""
