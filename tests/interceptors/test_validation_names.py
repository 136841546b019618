"""Names, ids and parameters a caller may send, and what a refusal says."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from grpc import StatusCode

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.refusal import REASONS, Refusal
from guardhouse.interceptors.validation import CHECKS, Validation, check_request
from guardhouse.protos import inference_pb2 as pb

SERVICE = "/inference.GRPCInferenceService"
CANARY = "canary-7f3a"

# Triton's own list of names that once left the model repository, and others that must not be logged or kept.
BAD_NAMES = [
    "",
    ".",
    "..",
    "../secret",
    "../../etc/passwd",
    "a/b",
    "a/../b",
    "/abs",
    "\\windows",
    "C:\\x",
    "a\\..\\b",
    "%2e%2e%2f",
    "..%2f",
    "a b",
    " a",
    "a\n",
    "a\r\nb",
    "a\0b",
    "\x1b[31mred",
    "a\u2028b",
    "\u202eevil",
    "d\u0131gits",
    "digits\u200b",
    "-a",
    "_a",
    ".hidden",
    "a" * 129,
    "a" * 65536,
]
GOOD_NAMES = ["digits", "a", "0", "a..b", "resnet-50_v1.5", "A" * 128]


def bytes_of(*elements: bytes) -> bytes:
    """A raw BYTES tensor of *elements*."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def ask(*tensors: tuple[str, list[int]], raws: list[bytes] | None = None, **fields: Any) -> Any:
    """A request with inputs `x0`, `x1`… of the given datatypes and shapes."""
    request = pb.ModelInferRequest(**{"model_name": "digits", **fields})
    for position, (datatype, shape) in enumerate(tensors):
        request.inputs.add(name=f"x{position}", datatype=datatype, shape=shape)
    request.raw_input_contents.extend(raws or [])
    return request


def typed(datatype: str, shape: list[int], field: str, values: list[Any]) -> Any:
    """A request with one typed input."""
    request = ask((datatype, shape))
    getattr(request.inputs[0].contents, field).extend(values)
    return request


def reason_of(request: Any) -> str:
    """Why *request* is refused; "" where it passes. Whatever is refused is refused with INVALID_ARGUMENT."""
    try:
        check_request(request)
    except Refusal as caught:
        refusal = caught
    else:
        return ""
    assert refusal.code is StatusCode.INVALID_ARGUMENT
    assert refusal.words.startswith(REASONS[refusal.reason].words)
    return refusal.reason


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name[:24]))
def test_names_that_could_mean_more_than_a_model_are_refused(name: str) -> None:
    """Traversal, line ends, control sequences, look-alikes and huge texts name no model, at any method."""
    with_name = [
        (pb.ModelInferRequest(model_name=name), "ModelInfer"),
        (pb.ModelInferRequest(model_name=name), "ModelStreamInfer"),
        (pb.ModelReadyRequest(name=name), "ModelReady"),
        (pb.ModelMetadataRequest(name=name), "ModelMetadata"),
        (pb.ModelConfigRequest(name=name), "ModelConfig"),
        (pb.ModelStatisticsRequest(name=name or "/"), "ModelStatistics"),
        (pb.RepositoryModelLoadRequest(model_name=name), "RepositoryModelLoad"),
        (pb.RepositoryModelUnloadRequest(model_name=name), "RepositoryModelUnload"),
        (pb.RepositoryIndexRequest(repository_name=name or "/"), "RepositoryIndex"),
    ]

    for request, method in with_name:
        with pytest.raises(Refusal) as caught:
            CHECKS[f"{SERVICE}/{method}"](request)
        assert caught.value.reason == "NAME_INVALID"


@pytest.mark.parametrize("version", [*BAD_NAMES[1:], "a" * 65], ids=lambda version: repr(version[:24]))
def test_versions_are_held_to_the_same_rule(version: str) -> None:
    """What can name no model can name no version, save that an empty version asks for the default."""
    assert reason_of(ask(model_version=version)) == "NAME_INVALID"


@pytest.mark.parametrize("name", GOOD_NAMES, ids=lambda name: name[:24])
def test_ordinary_names_pass(name: str) -> None:
    """Letters, digits, dots, dashes and underscores, up to 128 of them, name a model."""
    assert reason_of(ask(("FP32", [1]), raws=[bytes(4)], model_name=name, model_version="1.10-rc_2")) == ""


@pytest.mark.parametrize(
    ("mark", "reason"),
    [("", ""), ("a b/é\u4e2d", ""), ("x" * 256, ""), ("x" * 257, "NAME_INVALID"), ("a\nb", "NAME_INVALID")],
    ids=["empty", "text", "longest", "too-long", "line-end"],
)
def test_an_id_is_short_and_printable(mark: str, reason: str) -> None:
    """The id comes back in the answer and goes into records, so it is held to printable text."""
    assert reason_of(ask(("FP32", [1]), raws=[bytes(4)], id=mark)) == reason


@pytest.mark.parametrize("name", ["", "x" * 257, "a\0", "a\nb", "\x1b[0m", "a\u2028"], ids=repr)
def test_tensor_names_are_short_and_printable(name: str) -> None:
    """Inputs and requested outputs are named by 1 to 256 printable characters."""
    bad_input = ask(("FP32", [1]), raws=[bytes(4)])
    bad_input.inputs[0].name = name
    bad_output = ask(("FP32", [1]), raws=[bytes(4)])
    bad_output.outputs.add(name=name)

    assert [reason_of(bad_input), reason_of(bad_output)] == ["NAME_INVALID"] * 2


def carriers(key: str, **choice: Any) -> Iterator[Any]:
    """Requests that carry parameter *key* in each of the three places there are."""
    for place in ("request", "input", "output"):
        request = ask(("FP32", [1]), raws=[bytes(4)])
        request.outputs.add(name="y")
        holder = {"request": request, "input": request.inputs[0], "output": request.outputs[0]}[place]
        holder.parameters[key].MergeFrom(pb.InferParameter(**choice))
        yield request


@pytest.mark.parametrize(
    "key",
    [
        "shared_memory_region",
        "shared_memory_offset",
        "shared_memory_byte_size",
        "SHARED_MEMORY_REGION",
        "headers",
        "classification",
        "triton_final_response",
        "TRITON_ENABLE_EMPTY_FINAL_RESPONSE",
        "Triton_x",
        "guardhouse",
        "guardhouse-principal",
        "",
        "k" * 129,
        "a\nb",
        "k\u00e9y",
    ],
    ids=repr,
)
def test_parameters_that_are_not_the_caller_s_are_refused(key: str) -> None:
    """Reserved and malformed keys are refused on the request, on an input and on a requested output."""
    assert [reason_of(request) for request in carriers(key, bool_param=True)] == ["PARAMETER_INVALID"] * 3


@pytest.mark.parametrize("choice", ["bool_param", "int64_param", "double_param", "uint64_param"])
def test_plain_parameters_pass(choice: str) -> None:
    """Keys of one's own, and sequence_…, pass with every kind of value."""
    for key in ("temperature", "sequence_id", "triton_enable_empty_final_response", "k" * 128):
        assert [reason_of(request) for request in carriers(key, **{choice: 1})] == [""] * 3


def test_a_parameter_without_a_value_is_refused() -> None:
    """A kind of value that this protocol does not know arrives as none."""
    assert [reason_of(request) for request in carriers("temperature")] == ["PARAMETER_INVALID"] * 3


@pytest.mark.parametrize(("count", "reason"), [(64, ""), (65, "PARAMETER_INVALID")])
def test_parameters_are_counted(count: int, reason: str) -> None:
    """At most 64 in one place."""
    request = ask(("FP32", [1]), raws=[bytes(4)])
    for position in range(count):
        request.parameters[f"k{position}"].int64_param = position

    assert reason_of(request) == reason


def spoiled() -> Iterator[Any]:
    """Requests with the canary wherever a caller's text goes, each refused for another reason."""
    yield ask(model_name=f"{CANARY}/")
    yield ask(model_version=f"{CANARY}/")
    yield ask(id=f"{CANARY}\n")
    yield ask((CANARY, [1]))
    for key in (f"{CANARY}\n", f"triton_{CANARY}"):
        yield from carriers(key, string_param=CANARY)
    misnamed = ask(("FP32", [1]), raws=[bytes(4)])
    misnamed.inputs[0].name = f"{CANARY}\n"
    yield misnamed
    doubled = ask(("FP32", [1]), ("FP32", [1]), raws=[bytes(4)] * 2)
    for tensor in doubled.inputs:
        tensor.name = CANARY
    yield doubled
    yield ask(("BYTES", [3]), raws=[bytes_of(CANARY.encode())])
    yield typed("BYTES", [3], "bytes_contents", [CANARY.encode()])


def test_refusals_repeat_nothing_the_caller_wrote() -> None:
    """Neither words nor note of a refusal hold a name, key or value of the request."""
    for request in spoiled():
        with pytest.raises(Refusal) as caught:
            check_request(request)
        assert CANARY not in caught.value.words + caught.value.note + str(caught.value)


def test_a_refusal_says_what_was_wanted_and_what_came() -> None:
    """The words give position, datatype, shape and sizes."""
    with pytest.raises(Refusal) as caught:
        check_request(ask(("FP32", [1, 64]), raws=[bytes(255)]))

    said = "input 0: FP32 of shape [1, 64] needs 256 bytes, 255 were sent"
    assert caught.value.words == f"{REASONS['TENSOR_CONTENTS'].words}: {said}"


def call_to(method: str) -> Call:
    """A call that has got as far as its message."""
    return Call(method=f"{SERVICE}/{method}", metadata=(), known=True, wall_ns=0, opened_ns=0)


def test_the_guard_checks_the_methods_it_knows_and_no_others() -> None:
    """The guard refuses by the method's own rule; ServerLive carries nothing that could be wrong."""
    guard = Validation()
    guard.inspect(call_to("ModelInfer"), ask(("FP32", [1]), raws=[bytes(4)]))
    guard.inspect(call_to("ModelStatistics"), pb.ModelStatisticsRequest())
    guard.inspect(call_to("RepositoryIndex"), pb.RepositoryIndexRequest())
    guard.inspect(call_to("ServerLive"), pb.ServerLiveRequest())

    for method, request in (("ModelInfer", ask()), ("ModelReady", pb.ModelReadyRequest(name=".."))):
        with pytest.raises(Refusal):
            guard.inspect(call_to(method), request)
