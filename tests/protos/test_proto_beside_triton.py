"""Our modules live beside tritonclient's, which claim the same names in protobuf's default pool."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from guardhouse.protos import inference_pb2
from guardhouse.protos.pool import POOL


@pytest.mark.parametrize("order", ["ours-first", "theirs-first"])
def test_import_and_call_in_either_order(order: str) -> None:
    """In both import orders, our server answers Triton's client and Triton's servicer answers our stub."""
    script = Path(__file__).with_name("both_ways.py")
    done = subprocess.run(
        [sys.executable, str(script), order], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "both ways\n"), done.stderr


def test_pool_is_our_own() -> None:
    """Our descriptors are found in our pool, and importing them adds no name of ours to the default one."""
    assert (
        POOL.FindMessageTypeByName("inference.ModelInferRequest")
        is inference_pb2.ModelInferRequest.DESCRIPTOR
    )
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("guardhouse.v1.WhoAmIRequest")
