"""The methods Guardhouse knows by name, and which of them name a model.

Paths are as gRPC routes them: "/package.Service/Method".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

INFERENCE: Final = "inference.GRPCInferenceService"
GUARDHOUSE: Final = "guardhouse.v1.Guardhouse"

SERVER_LIVE: Final = f"/{INFERENCE}/ServerLive"
SERVER_READY: Final = f"/{INFERENCE}/ServerReady"
SERVER_METADATA: Final = f"/{INFERENCE}/ServerMetadata"
MODEL_READY: Final = f"/{INFERENCE}/ModelReady"
MODEL_METADATA: Final = f"/{INFERENCE}/ModelMetadata"
MODEL_INFER: Final = f"/{INFERENCE}/ModelInfer"
MODEL_STREAM_INFER: Final = f"/{INFERENCE}/ModelStreamInfer"
MODEL_CONFIG: Final = f"/{INFERENCE}/ModelConfig"
MODEL_STATISTICS: Final = f"/{INFERENCE}/ModelStatistics"
REPOSITORY_INDEX: Final = f"/{INFERENCE}/RepositoryIndex"
REPOSITORY_MODEL_LOAD: Final = f"/{INFERENCE}/RepositoryModelLoad"
REPOSITORY_MODEL_UNLOAD: Final = f"/{INFERENCE}/RepositoryModelUnload"
WHO_AM_I: Final = f"/{GUARDHOUSE}/WhoAmI"

# Services whose methods are all known, so that a misspelt one is found when the policy is read.
SERVICES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        INFERENCE: frozenset(
            {
                "ServerLive",
                "ServerReady",
                "ServerMetadata",
                "ModelReady",
                "ModelMetadata",
                "ModelInfer",
                "ModelStreamInfer",
                "ModelConfig",
                "ModelStatistics",
                "RepositoryIndex",
                "RepositoryModelLoad",
                "RepositoryModelUnload",
            }
        ),
        GUARDHOUSE: frozenset({"WhoAmI"}),
    }
)

NameReader = Callable[[Any], tuple[str, str]]


# What asks nothing of a model needs no slot and costs nothing: who has spent everything may still ask what is
# left, and who is nobody cannot spend what others have by asking how we are. A method of somebody else's
# service may ask anything.
FREE: Final = frozenset(
    f"/{service}/{method}" for service, methods in SERVICES.items() for method in methods
) - {MODEL_INFER, MODEL_STREAM_INFER} | {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
}


def _of_query(request: Any) -> tuple[str, str]:
    return request.model_name, request.model_version


def _of_question(request: Any) -> tuple[str, str]:
    return request.name, request.version


def _of_repository(request: Any) -> tuple[str, str]:
    return request.model_name, ""


# How to read (model, version) from a request; an empty version leaves the choice to the server.
MODEL_NAMES: Final[Mapping[str, NameReader]] = MappingProxyType(
    {
        MODEL_INFER: _of_query,
        MODEL_STREAM_INFER: _of_query,
        MODEL_READY: _of_question,
        MODEL_METADATA: _of_question,
        MODEL_CONFIG: _of_question,
        MODEL_STATISTICS: _of_question,
        REPOSITORY_MODEL_LOAD: _of_repository,
        REPOSITORY_MODEL_UNLOAD: _of_repository,
    }
)
