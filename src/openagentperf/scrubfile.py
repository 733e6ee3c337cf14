"""Files of scrub rules: the shipped one, and a user's."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec

from openagentperf.corpus.scrubrules import Rules
from openagentperf.errors import UsageError


def default_rules() -> Rules:
    """Those that ship with the package: presets/scrub/default.toml."""
    return msgspec.toml.decode(
        (resources.files("openagentperf") / "presets/scrub/default.toml").read_bytes(), type=Rules
    )


def load_rules(path: Path) -> Rules:
    """A file's rules, together with the shipped ones unless it says `default_rules = false`. UsageError where it is no such file."""
    try:
        rules = msgspec.toml.decode(path.read_bytes(), type=Rules)
    except OSError as error:
        raise UsageError(
            str(path),
            f"cannot be read ({error.strerror})",
            "a TOML file of scrub rules was needed",
            "correct --scrub-rules",
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(str(path), str(error), "", "correct it (docs/record.md lists the kinds of rules)") from error
    return rules + default_rules() if rules.default_rules else rules
