"""The model of `benchmarks.flood`: sleeps as long as it is asked to, and leaves one byte for every call."""

from __future__ import annotations

import os
import time
from typing import Any

from guardhouse.server import model

WITNESS = os.open(os.environ["GUARDHOUSE_BENCH_WITNESS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


@model(inputs={"seconds": ("FP32", [1])}, outputs={"slept": ("FP32", [1])})
def sleeping(seconds: Any) -> Any:
    """Block a thread for *seconds*."""
    os.write(WITNESS, b".")
    time.sleep(float(seconds[0]))
    return seconds
