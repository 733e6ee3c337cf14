"""Load: `lane` (one agent's connection and turns), `phase` (a worker's share of a phase), `worker` (the process), `fleet` (all of them)."""
