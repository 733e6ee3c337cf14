"""Tests know no ceiling that `openagentperf selfcheck` remembered for this machine: a small one would make every verdict invalid."""

from __future__ import annotations

import os
import tempfile

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="openagentperf-state-")
