"""The Python client: numpy in, numpy out, over the Open Inference Protocol.

    from guardhouse.clients import Client

    with Client.from_profile(".demo") as client:
        result = client.infer("digits", image)
        print(result["label"], result.trace_id)

`AsyncClient` is the same for asyncio. It talks to any server of the protocol; a Guardhouse server also says
why it refused, and when to come back.
"""

from .aio import AsyncClient
from .client import Client
from .credentials import Credentials
from .datatypes import TensorError
from .errors import (
    ConfigurationError,
    DeadlineExceeded,
    GuardhouseError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RateLimited,
    ResourceExhausted,
    ServerError,
    Unauthenticated,
    Unavailable,
)
from .messages import Identity, LimitInfo, ModelInfo, Result, ServerInfo, TensorInfo

__all__ = [
    "AsyncClient",
    "Client",
    "ConfigurationError",
    "Credentials",
    "DeadlineExceeded",
    "GuardhouseError",
    "Identity",
    "InvalidArgument",
    "LimitInfo",
    "ModelInfo",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "ResourceExhausted",
    "Result",
    "ServerError",
    "ServerInfo",
    "TensorError",
    "TensorInfo",
    "Unauthenticated",
    "Unavailable",
]
