"""The protocol on the wire: the .proto files and the modules generated from them.

``inference`` is the Open Inference Protocol, version 2 (package ``inference``, service
``GRPCInferenceService``); ``guardhouse`` is what this project adds to it (package ``guardhouse.v1``). The
generated modules keep to a descriptor pool of their own, ``guardhouse.protos.pool.POOL``, so they import
beside any other package that brings the same protocol. Do not edit them: change the .proto file and run
``make protos``.
"""

from importlib import resources
from importlib.resources.abc import Traversable

__all__ = ["module_files", "proto_files"]


def proto_files() -> list[Traversable]:
    """Return the .proto files, in order of name."""
    return _files(".proto")


def module_files() -> list[Traversable]:
    """Return the generated modules, their type stubs and the pool they share, in order of name."""
    return [*_files("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi", "pool.py")]


def _files(*endings: str) -> list[Traversable]:
    found = (entry for entry in resources.files(__name__).iterdir() if entry.name.endswith(endings))
    return sorted(found, key=lambda entry: entry.name)
