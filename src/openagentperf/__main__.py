"""`python -m openagentperf` is the `openagentperf` command."""

from openagentperf.cli.main import entry

if __name__ == "__main__":
    entry()
