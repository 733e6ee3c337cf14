"""The command line: a thin face over bench, planfile and corpusjobs. docs/cli.md is its manual."""
