"""Load: `lane` (a connection and its turn), `seat` (an agent's lanes), `phase` (a worker's share of a phase), `worker` (the process),
`fleet` (all of them)."""
