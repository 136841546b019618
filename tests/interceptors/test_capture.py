"""The guard that keeps inputs and outputs: which, how much, and what the record says about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors import Call, Chain, Guard, Refusal, Stage
from guardhouse.interceptors.capture import DROPPED, Capture, CaptureError, Store
from guardhouse.interceptors.capture.find import find
from guardhouse.interceptors.methods import MODEL_INFER, MODEL_METADATA, MODEL_STREAM_INFER
from guardhouse.interceptors.record.lines import entry
from guardhouse.protos import inference_pb2

Facts = dict[str, Any]


def asked(name: str = "digits", size: int = 4) -> Any:
    request = inference_pb2.ModelInferRequest(model_name=name)
    request.raw_input_contents.append(b"i" * size)
    return request


def answer(size: int = 4) -> Any:
    response = inference_pb2.ModelInferResponse(model_name="digits")
    response.raw_output_contents.append(b"o" * size)
    return response


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "captures", limit=1 << 20, keep=3600)
    yield store
    store.close()


def opened(chain: Chain, method: str = MODEL_INFER, model: str = "digits") -> Call:
    """A call for *model*, as the guards before the capture leave it."""
    call = chain.open(method, (("authorization", "Bearer canary"),), known=True)
    call.model = model
    return call


def exchange(chain: Chain, call: Call, *messages: Any) -> None:
    """Ask and answer as the shells do, message by message."""
    for message in messages:
        call.requests += 1
        chain.inspect(call, message)
        chain.release(call, answer())
        call.responses += 1
    chain.settle(call, None)


def kept(store: Store, tmp_path: Path, wanted: str) -> list[Facts]:
    store.close()
    return list(find(tmp_path / "captures", wanted))


def test_what_is_asked_and_answered_is_kept(store: Store, tmp_path: Path) -> None:
    """Both messages are found by the reference on the record, and are what they were."""
    chain = Chain(Capture(store, ["digits"], 1000))
    call = opened(chain)
    exchange(chain, call, asked())
    reference = str(entry(call)["capture"])
    request, response = kept(store, tmp_path, reference)
    assert reference.endswith(f".jsonl:{call.span_id:016x}")
    assert (request["part"], request["number"], request["model"]) == ("request", 1, "digits")
    assert inference_pb2.ModelInferRequest.FromString(request["data"]) == asked()
    assert inference_pb2.ModelInferResponse.FromString(response["data"]) == answer()


def test_every_message_of_a_stream_is_kept_in_order(store: Store, tmp_path: Path) -> None:
    """Requests and responses of a stream are numbered, under one reference."""
    chain = Chain(Capture(store, ["digits"], 1000))
    call = opened(chain, MODEL_STREAM_INFER)
    exchange(chain, call, *[asked()] * 3)
    found = [(facts["part"], facts["number"]) for facts in kept(store, tmp_path, f"{call.span_id:016x}")]
    assert found == [(part, number) for number in (1, 2, 3) for part in ("request", "response")]


@pytest.mark.parametrize(
    ("models", "method", "model"),
    [
        (["digits"], MODEL_INFER, "fraud"),
        (["fraud-*"], MODEL_INFER, "fraud"),
        (["*"], MODEL_METADATA, "digits"),
        (["*"], MODEL_INFER, ""),
    ],
)
def test_nothing_else_is_kept(
    models: list[str], method: str, model: str, store: Store, tmp_path: Path
) -> None:
    """Other models, and methods that have neither inputs nor outputs, leave no file and no reference."""
    chain = Chain(Capture(store, models, 1000))
    call = opened(chain, method, model)
    exchange(chain, call, asked())
    assert call.capture == ""
    store.close()
    assert list((tmp_path / "captures").iterdir()) == []


def test_a_long_message_is_cut(store: Store, tmp_path: Path) -> None:
    """Its first bytes are kept, and how many it had."""
    chain = Chain(Capture(store, ["*"], 100))
    call = opened(chain)
    exchange(chain, call, asked(size=5000))
    request, _ = kept(store, tmp_path, call.capture)
    whole = asked(size=5000).SerializeToString()
    assert (request["size"], request["data"]) == (len(whole), whole[:100])


def test_no_token_is_in_a_capture(store: Store, tmp_path: Path) -> None:
    """Nothing of the metadata gets there."""
    chain = Chain(Capture(store, ["*"], 1000))
    exchange(chain, opened(chain), asked())
    store.close()
    (file,) = (tmp_path / "captures").iterdir()
    assert b"canary" not in file.read_bytes()
    assert b"authorization" not in file.read_bytes()


def test_a_question_that_screening_refuses_is_kept(store: Store, tmp_path: Path) -> None:
    """Who looks into misuse wants to see what was refused."""

    class Screens(Guard):
        stage = Stage.SCREENING

        def inspect(self, call: Call, request: Any) -> None:
            raise Refusal("MODEL_DENIED")

    chain = Chain(Capture(store, ["*"], 1000), Screens())
    call = opened(chain)
    call.requests = 1
    with pytest.raises(Refusal) as refused:
        chain.inspect(call, asked())
    chain.settle(call, refused.value)
    assert [facts["part"] for facts in kept(store, tmp_path, call.capture)] == ["request"]


def test_what_is_kept_of_an_answer_is_what_leaves(store: Store, tmp_path: Path) -> None:
    """Output controls come first: the capture has no more than the caller got."""

    class Controls(Guard):
        stage = Stage.OUTPUT

        def release(self, call: Call, response: Any) -> Any:
            return inference_pb2.ModelInferResponse(id="less")

    chain = Chain(Capture(store, ["*"], 1000), Controls())
    call = opened(chain)
    exchange(chain, call, asked())
    *_, response = kept(store, tmp_path, call.capture)
    assert inference_pb2.ModelInferResponse.FromString(response["data"]).id == "less"


def test_a_store_that_takes_nothing_costs_no_call(store: Store) -> None:
    """The answer leaves, and the record says that nothing was kept."""
    store.close()
    chain = Chain(Capture(store, ["*"], 1000))
    call = opened(chain)
    exchange(chain, call, asked())
    assert entry(call)["capture"] == DROPPED
    assert entry(call)["status"] == "OK"


def test_a_call_that_was_kept_in_part_says_dropped(store: Store) -> None:
    """One message that is lost is enough: the record never promises more than there is."""
    chain = Chain(Capture(store, ["*"], 1000))
    call = opened(chain, MODEL_STREAM_INFER)
    call.requests = 1
    chain.inspect(call, asked())
    assert call.capture.endswith(f"{call.span_id:016x}")
    store.close()
    exchange(chain, call, asked())
    assert call.capture == DROPPED


@pytest.mark.parametrize("message", [b"bytes", "text", None])
def test_what_is_no_protobuf_message_is_not_kept(message: Any, store: Store) -> None:
    """It is others' to judge; the call goes on."""
    chain = Chain(Capture(store, ["*"], 1000))
    call = opened(chain)
    exchange(chain, call, message)
    assert call.capture == DROPPED


def test_a_folder_that_others_may_look_into_is_refused(tmp_path: Path) -> None:
    """The store does not start there, and says what to do."""
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(CaptureError, match="run chmod 700"):
        Store(tmp_path / "open", limit=1 << 20, keep=3600)
    (tmp_path / "file").touch()
    with pytest.raises(CaptureError, match="cannot make"):
        Store(tmp_path / "file", limit=1 << 20, keep=3600)
