"""openagentperf: how many coding agents can this inference system serve at once while its service levels hold?"""

__version__ = "0.1.0"
