"""What holds for all tests.

They know no ceiling that `openagentperf selfcheck` remembered for this machine: a small one would make every verdict invalid. And no
law has a deadline: how long an example takes says something of the machine (one of 200 ms failed beside other work). CI draws half as many.
"""

from __future__ import annotations

import os
import tempfile

from hypothesis import settings

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="openagentperf-state-")
settings.register_profile("here", deadline=None)
settings.register_profile("half", settings.get_profile("ci"), deadline=None, max_examples=50)  # the same ones each time
settings.load_profile("half" if os.environ.get("CI") else "here")
