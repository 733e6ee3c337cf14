"""The fake libnvidia-ml.so.1 (fake_nvml.c), compiled, and scripted from a test."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")


def build(folder: Path, *flags: str) -> Path:
    """Compile it into `folder` under the name by which nvidia-ml-py loads it: the folder can be an LD_LIBRARY_PATH."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the fake libnvidia-ml (apt install gcc)")
    library = folder / "libnvidia-ml.so.1"
    wanted = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{library.name}"]
    subprocess.run([compiler, *wanted, *flags, "-o", str(library), str(SOURCE)], check=True)
    return library


class FakeNvml:
    """The library loaded into this process: from then on nvidia-ml-py's own loader finds it by its soname."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.fake_set.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_ulonglong)
        self._library.fake_set.restype = None

    def reset(self, gpus: int = 2) -> None:
        self._library.fake_reset(gpus)

    def set(self, gpu: int, call: str, code: int = 0, value: int = 0) -> None:
        self._library.fake_set(gpu, call.encode(), code, value)

    @property
    def started(self) -> int:
        """How often it was initialised and not shut down."""
        return int(self._library.fake_started())
