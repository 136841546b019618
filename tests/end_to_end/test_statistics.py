"""`ModelConfig` and `ModelStatistics` of a running server, asked as NVIDIA's client asks."""

from __future__ import annotations

import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from gate import bearer, query
from test_peers import tensor, triton_settings

from guardhouse.protos import inference_pb2 as pb
from guardhouse.protos.inference_pb2_grpc import GRPCInferenceServiceStub

SLEEP = 0.2  # seconds


@pytest.fixture(scope="module")
def operator(gate):
    """What somebody shows who may call everything."""
    return {"authorization": f"Bearer {gate.token('operator')}"}


@pytest.fixture
def client(gate):
    """NVIDIA's client, with a certificate of ours."""
    with triton.InferenceServerClient(**triton_settings(gate)) as made:
        yield made


def sums(client, model, headers):
    (found,) = client.get_inference_statistics(model, headers=headers).model_stats
    return found


def test_the_numbers_are_true(gate, client, operator):
    """Two answers and two failures are counted as such; a model that sleeps computes for as long."""
    began = time.time()
    before = sums(client, "slow", operator)
    for _ in range(2):
        client.infer("slow", [tensor(triton, np.array([SLEEP], np.float32))], headers=operator)
    for model in ("broken", "misshapen"):
        with pytest.raises(triton.InferenceServerException):
            client.infer(model, [tensor(triton)], headers=operator)
    after, failed = sums(client, "slow", operator), sums(client, "broken", operator)

    assert after.inference_count - before.inference_count == 2
    assert after.inference_stats.compute_infer.ns >= 2 * SLEEP * 1e9
    assert after.inference_stats.compute_infer.ns <= after.inference_stats.success.ns
    assert after.last_inference >= int(began * 1000)
    assert failed.inference_stats.fail.count == 1
    assert failed.inference_count == 0


def test_streams_are_counted_too(gate, client, operator):
    """One question with many answers is one inference; one that fails midway is a failure."""
    before = sums(client, "spell", operator).inference_stats
    with gate.channel() as channel:
        stub = GRPCInferenceServiceStub(channel)
        asked = iter([query("spell", [1, 2, 3]), query("spell", [1, -1])])
        list(stub.ModelStreamInfer(asked, metadata=tuple(operator.items()), timeout=10))
    after = sums(client, "spell", operator).inference_stats

    assert after.success.count - before.success.count == 1
    assert after.fail.count - before.fail.count == 1


def test_the_configuration_is_the_signature(client, operator):
    """Names, datatypes and dimensions as declared, and nothing of where the model comes from."""
    config = client.get_model_config("double", headers=operator).config

    assert (config.name, config.platform, config.backend, config.max_batch_size) == (
        "double",
        "python",
        "python",
        0,
    )
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [("x", 11, [-1])]
    assert "witness" not in str(config)


@pytest.mark.parametrize("method", ["ModelConfig", "ModelStatistics"])
def test_only_roles_that_list_them_may_ask(gate, token, method):
    """The analyst may ask `double`, but not how it is set up or what others have asked it."""
    asked = getattr(pb, f"{method}Request")(name="double")
    with gate.channel() as channel, pytest.raises(grpc.RpcError) as error:
        getattr(GRPCInferenceServiceStub(channel), method)(asked, metadata=bearer(token), timeout=10)

    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_model_must_be_named(client, operator):
    """Nobody is told of every model at once: which of them a role may use is asked of each."""
    with pytest.raises(triton.InferenceServerException) as error:
        client.get_inference_statistics(headers=operator)

    assert error.value.status() == "StatusCode.PERMISSION_DENIED"
