"""A model that traces its own work with the OpenTelemetry API."""

import numpy as np
from numpy.typing import NDArray
from opentelemetry import trace

from guardhouse.server import model

tracer = trace.get_tracer("traced_model")


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
def double(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twice the input."""
    with tracer.start_as_current_span("multiply"):
        return x * 2
