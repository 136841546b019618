"""Messages that need not be taken apart again, and those that only look so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors import Call, Refusal, Validation
from guardhouse.interceptors.methods import MODEL_INFER
from guardhouse.interceptors.record.wire import field
from guardhouse.interceptors.validation.heads import Heads, ends_with_tensor
from guardhouse.protos import inference_pb2 as pb


def _message(tensor: bytes = b"\0" * 16, shape: int = 4, **facts: Any) -> bytes:
    request = pb.ModelInferRequest(model_name="digits", **facts)
    request.inputs.add(name="x", datatype=facts.pop("datatype", "FP32"), shape=[shape])
    request.raw_input_contents.append(tensor)
    return request.SerializeToString()


def _kept(raw: bytes) -> Heads:
    heads = Heads()
    heads.keep(raw, pb.ModelInferRequest.FromString(raw))
    return heads


@given(st.binary(min_size=16, max_size=16))
def test_another_tensor_of_the_same_size_is_known(tensor: bytes) -> None:
    """What differs in the bytes of the tensor alone is known; nothing was known before."""
    assert not Heads().known(_message(tensor))
    assert _kept(_message()).known(_message(tensor))


def test_what_may_not_be_kept() -> None:
    """An id that is another one each time, and contents that are judged by what they hold."""
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(b"\1\0\0\0a")
    text = request.SerializeToString()

    assert not _kept(_message(id="7")).known(_message(id="7"))
    assert not _kept(text).known(text)


def test_a_longer_message_with_a_known_head_is_not_known() -> None:
    """Fields behind the tensor are nobody's judgement, also where a message of that length was in order."""
    heads, raw = _kept(_message()), _message()
    longer = _message(b"\0" * 20, 5)
    heads.keep(longer, pb.ModelInferRequest.FromString(longer))
    appended = raw + field(b"\x1a", b"i" * (len(longer) - len(raw) - 2))

    assert len(appended) == len(longer)
    assert not heads.known(appended)


def test_bytes_that_look_like_a_tensor_within_a_parameter() -> None:
    """A message whose last bytes are a parameter's text is not kept, however that text reads."""
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="UINT8", shape=[4])
    request.raw_input_contents.append(b"good")
    head = request.SerializeToString()
    request = pb.ModelInferRequest()
    request.parameters["p"].string_param = ":\x04good"
    raw = head + request.SerializeToString()

    assert raw.endswith(b":\x04good")
    assert pb.ModelInferRequest.FromString(raw).raw_input_contents == [b"good"]
    assert not ends_with_tensor(raw, len(raw) - 4)
    assert not _kept(raw).known(raw)


@given(st.binary(max_size=200))
def test_any_message_is_walked_to_an_end(tail: bytes) -> None:
    """Unknown fields of every wire type do not confuse it: what it calls the tensor is what protobuf does."""
    raw = _message() + tail
    try:
        request = pb.ModelInferRequest.FromString(raw)
    except Exception:
        return
    if len(request.raw_input_contents) == 1 and ends_with_tensor(raw, len(raw) - 16):
        assert raw[-16:] == request.raw_input_contents[0]


def test_the_guard_judges_each_message_until_it_is_known() -> None:
    """A known head passes with any tensor; a head that differs in one byte is judged, and refused."""
    guard = Validation()

    def ask(raw: bytes) -> None:
        guard.inspect(Call(MODEL_INFER, (), True, 0, 0, raw=raw), pb.ModelInferRequest.FromString(raw))

    ask(_message())
    ask(_message(b"\1" * 16))
    with pytest.raises(Refusal, match="shape"):
        ask(_message(shape=5))
