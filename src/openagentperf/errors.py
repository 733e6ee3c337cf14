"""What can go wrong, one class for each thing a caller would do differently.

    OpenAgentPerfError            exit 1   a bug of ours, or a cause nobody foresaw
    +-- UsageError                exit 2   the wish cannot be carried out as written
    |   +-- PlanError                      a plan file, a preset or an option
    |   +-- CorpusError                    a recording or a compiled corpus
    +-- RunInvalid                exit 4   the measurement was spoiled; no number may be read from it
    +-- InfrastructureError       exit 5   something outside this program failed
        +-- EndpointError                  unreachable, TLS, wrong protocol
        +-- PreflightError                 reachable, but a run would not be honest (holds every failed check)
        +-- StorageError                   a full disk, a folder that cannot be written
        +-- WorkerError                    a load worker that could not start or died
        +-- MeterError                     a power meter that is not there, refuses, or has not the devices declared

Exit 0, 3 (SLO unmet at one agent), 6 (gate failed) and 130 (interrupted) are answers, not errors: see docs/cli.md.

Every message has one form, *where: what is, what was needed: what to do*, and is raised before the first byte is sent
wherever it can be known then. Failed requests are rows (records.turns.TurnRow.failure), never exceptions.
"""

from __future__ import annotations


class OpenAgentPerfError(Exception):
    """Base of all; `exit_code` is the process's status where nobody catches it."""

    exit_code = 1

    def __init__(self, where: str, found: str, needed: str = "", fix: str = "") -> None:
        self.where = where
        self.found = found
        self.needed = needed
        self.fix = fix
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """`where: found, needed: fix`, leaving out what is empty."""
        text = f"{self.where}: {self.found}"
        if self.needed:
            text += f", {self.needed}"
        if self.fix:
            text += f": {self.fix}"
        return text


class UsageError(OpenAgentPerfError):
    exit_code = 2


class PlanError(UsageError):
    pass


class CorpusError(UsageError):
    pass


class RunInvalid(OpenAgentPerfError):
    exit_code = 4


class InfrastructureError(OpenAgentPerfError):
    exit_code = 5


class EndpointError(InfrastructureError):
    pass


class PreflightError(InfrastructureError):
    pass


class StorageError(InfrastructureError):
    pass


class WorkerError(InfrastructureError):
    pass


class MeterError(InfrastructureError):
    pass
