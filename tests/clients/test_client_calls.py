"""The client, in both colours, against a real server over mutual TLS."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from guardhouse.clients import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    GuardhouseError,
    InvalidArgument,
    NotFound,
    RateLimited,
    ResourceExhausted,
    TensorError,
    Unavailable,
)
from guardhouse.clients.explain import advice
from guardhouse.clients.testing import TRACE_ID, Server, make_pki, serve, write_profile
from guardhouse.protos import inference_pb2 as pb

Ask = Callable[..., Any]


def methods(server: Server) -> list[str]:
    """The methods called, in order."""
    return [call.method for call in server.calls]


def test_arrays_go_in_and_come_out(server: Server, ask: Ask, image: Any) -> None:
    """Named arrays are sent as they are, in one call; the result maps names, and has all else."""
    inputs = {"image": image, "words": ["ä", b"\0"], "half": np.float16(0.5)}
    result = ask(
        server.profile,
        lambda client: client.infer("m", inputs, request_id="7", parameters={"p": 1}, version="1"),
    )
    np.testing.assert_array_equal(result["image"], image)
    assert (list(result["words"]), result["half"].dtype) == (["ä".encode(), b"\0"], np.float16)
    assert (result.model, result.version, result.id, result.parameters) == ("m", "1", "7", {"p": 1})
    assert (result.trace_id, len(result), list(result)) == (TRACE_ID, 3, list(inputs))
    assert methods(server) == ["ModelInfer"]


def test_typed_contents_on_request(server: Server, ask: Ask, image: Any) -> None:
    """With raw=False the tensor travels typed, and comes back the same."""
    result = ask(server.profile, lambda client: client.infer("m", {"image": image}, raw=False))
    np.testing.assert_array_equal(result["image"], image)
    assert not server.calls[0].request.raw_input_contents


def test_a_value_alone_is_named_and_fitted(server: Server, ask: Ask) -> None:
    """A plain list becomes the model's one input: named, in its datatype, as a batch of one."""
    result = ask(server.profile, lambda client: client.infer("m", [0, 0.1, 2, 3]))
    assert (result["image"].dtype, result["image"].shape) == (np.float32, (1, 4))
    assert methods(server) == ["ModelMetadata", "ModelInfer"]


def test_plain_numbers_by_name_are_fitted_too(server: Server, ask: Ask, image: Any) -> None:
    """In a mapping, plain numbers take the declared datatype, and arrays keep theirs."""
    result = ask(server.profile, lambda client: client.infer("pair", {"image": image, "weight": [3]}))
    assert (result["image"].dtype, result["weight"].dtype) == (np.float32, np.int32)


def test_a_value_alone_needs_a_model_with_one_input(server: Server, ask: Ask, image: Any) -> None:
    """With two inputs the error names them, and nothing is inferred."""
    with pytest.raises(TensorError, match="2 inputs: give a mapping with the names 'image', 'weight'"):
        ask(server.profile, lambda client: client.infer("pair", image))
    assert methods(server) == ["ModelMetadata"]


def test_the_declaration_is_looked_up_once(server: Server, image: Any) -> None:
    """Many calls, by many threads, look a model up once they know it no more."""
    with Client.from_profile(server.profile) as client:
        client.infer("m", image)
        threads = [threading.Thread(target=client.infer, args=("m", image)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert methods(server).count("ModelMetadata") == 1
    assert methods(server).count("ModelInfer") == 9


def test_a_refused_input_makes_the_client_look_again(server: Server, image: Any) -> None:
    """After INVALID_ARGUMENT the declaration may be stale, so it is asked for anew."""
    with Client.from_profile(server.profile) as client:
        for _ in range(2):
            with pytest.raises(InvalidArgument):
                client.infer("picky", image)
    assert methods(server) == ["ModelMetadata", "ModelInfer"] * 2


def test_the_other_calls(server: Server, ask: Ask) -> None:
    """Metadata, readiness, liveness and identity come as plain values."""
    model = ask(server.profile, lambda client: client.metadata("m"))
    assert (model.versions, model.inputs[0].shape, model.outputs[0].datatype) == (("1",), (-1, 4), "INT64")
    assert ask(server.profile, lambda client: client.ready()) is True
    assert ask(server.profile, lambda client: client.ready("loading")) is False
    assert ask(server.profile, lambda client: client.live()) is True
    assert ask(server.profile, lambda client: client.server_metadata()).extensions == ("one",)
    me = ask(server.profile, lambda client: client.whoami())
    assert (me.subject, me.roles, me.limits[0].remaining, me.trace_id) == (
        "notebook",
        ("analyst",),
        199,
        TRACE_ID,
    )


def test_a_refusal_says_why(server: Server, ask: Ask, image: Any) -> None:
    """The exception carries code, reason, ids and words, and the call was made once."""
    with pytest.raises(NotFound, match="NOT_FOUND MODEL_UNKNOWN: no such model or version") as caught:
        ask(server.profile, lambda client: client.infer("unknown", {"image": image}))
    found = (caught.value.reason, caught.value.error_id, caught.value.trace_id, caught.value.retry_after)
    assert found == ("MODEL_UNKNOWN", "00f067aa0ba902b7", TRACE_ID, None)
    assert methods(server) == ["ModelInfer"]


def test_a_call_is_tried_again_as_the_server_says(server: Server, ask: Ask, image: Any) -> None:
    """A refusal with a delay is waited out, three attempts in all; the sleeping is the test's."""
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    with pytest.raises(RateLimited) as caught:
        ask(
            server.profile,
            lambda client: client.infer("busy", {"image": image}),
            sleep=naps.append if ask.__name__ == "ask_sync" else nap,
            chance=lambda: 0.0,
        )
    assert (caught.value.retry_after, naps, len(server.calls)) == (0.5, [0.5, 0.5], 3)


def test_the_deadline_is_on_the_wire_and_kept(server: Server, ask: Ask, image: Any) -> None:
    """A call has the default deadline, or its own; when it passes, DeadlineExceeded is raised."""
    ask(server.profile, lambda client: client.live())
    ask(server.profile, lambda client: client.live(timeout=5))
    first, second = (call.seconds_left for call in server.calls)
    assert 5 < first <= 30
    assert second <= 5
    with pytest.raises(DeadlineExceeded):
        ask(server.profile, lambda client: client.infer("slow", {"image": image}, timeout=0.2))


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_call_cannot_do_without_a_deadline(server: Server, ask: Ask, timeout: float) -> None:
    """No time, or endless time, is refused before anything is sent."""
    with pytest.raises(ValueError, match="a timeout is a positive number of seconds"):
        ask(server.profile, lambda client: client.live(timeout=timeout))
    assert server.calls == []


def test_a_replaced_token_is_sent(server: Server) -> None:
    """A running client sends what the token file holds, and the last good token while it holds none."""
    token = server.profile / "token"
    with Client.from_profile(server.profile) as client:
        for text in (None, "second\n", "", "third"):
            if text is not None:
                token.write_text(text)
            client.live()
        token.unlink()
        client.live()
    sent = [call.metadata["authorization"] for call in server.calls]
    assert sent == [f"Bearer {name}" for name in ("test-token", "second", "second", "third", "third")]


def test_own_metadata_is_sent_and_wins(server: Server, ask: Ask, image: Any) -> None:
    """Metadata of the caller arrives, binary too, and replaces the client's own of the same key."""
    own = [("authorization", "Bearer other"), ("x-experiment", "7"), ("x-blob-bin", b"\0\1")]
    ask(server.profile, lambda client: client.infer("m", {"image": image}, metadata=own))
    assert own == [(key, server.calls[0].metadata[key]) for key, _ in own]


def test_a_bad_metadata_key_is_refused(server: Server, ask: Ask, image: Any) -> None:
    """An upper-case key is a clear ValueError in both colours."""
    with pytest.raises(ValueError, match="metadata key 'X-Key' must be lower-case"):
        ask(server.profile, lambda client: client.infer("m", {"image": image}, metadata=[("X-Key", "1")]))


def test_a_server_of_another_authority_gets_no_call(server: Server, ask: Ask, tmp_path: Path) -> None:
    """With the wrong CA the handshake fails: Unavailable, once, and no token has left."""
    (tmp_path / "other").mkdir()
    make_pki(tmp_path / "other")
    write_profile(tmp_path / "other", server.target)
    with pytest.raises(Unavailable):
        ask(tmp_path / "other", lambda client: client.live())
    assert server.calls == []


def test_no_server_is_unavailable_at_once(tmp_path: Path, ask: Ask) -> None:
    """Where nobody listens the call fails now, not at its deadline."""
    make_pki(tmp_path)
    write_profile(tmp_path, "127.0.0.1:1")
    with pytest.raises(Unavailable) as caught:
        ask(tmp_path, lambda client: client.live(timeout=60))
    assert caught.value.message.isprintable()


def test_waiting_for_a_server_ends_with_the_deadline(tmp_path: Path, ask: Ask) -> None:
    """With wait_for_ready the same call waits for a server until its deadline."""
    make_pki(tmp_path)
    write_profile(tmp_path, "127.0.0.1:1")
    with pytest.raises(DeadlineExceeded):
        ask(tmp_path, lambda client: client.live(timeout=0.2), wait_for_ready=True)


def test_eight_megabytes_both_ways(server: Server, ask: Ask) -> None:
    """A tensor of 8 MB is sent and received, twice what grpc allows by itself."""
    big = np.arange(2_000_000, dtype=np.float32)
    result = ask(server.profile, lambda client: client.infer("m", {"x": big}))
    np.testing.assert_array_equal(result["x"], big)


def test_the_size_of_messages_is_bounded(server: Server, ask: Ask) -> None:
    """A message over the client's limit is not sent."""
    with pytest.raises(ResourceExhausted, match="larger than max") as caught:
        ask(server.profile, lambda client: client.infer("m", {"x": np.zeros(1000)}), max_message_bytes=1000)
    assert not isinstance(caught.value, RateLimited)
    assert advice(caught.value) == "ask with fewer items at once"
    assert server.calls == []


def test_a_closed_client_says_so(server: Server, ask: Ask) -> None:
    """A call after close is a ValueError; closing twice is not."""
    client = Client.from_profile(server.profile)
    client.close()
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.live()


async def test_a_closed_async_client_says_so(server: Server) -> None:
    """The same for asyncio, whether it was ever used or not."""
    client = AsyncClient.from_profile(server.profile)
    await client.close()
    await client.close()
    with pytest.raises(ValueError, match="closed"):
        await client.live()


async def test_cancelling_the_task_cancels_the_call(tmp_path: Path, image: Any) -> None:
    """A cancelled task ends at once with CancelledError, and the server's call ends too."""
    arrived, left = threading.Event(), threading.Event()

    def answer(method: str, request: Any, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        context.add_callback(left.set)
        arrived.set()
        left.wait(20)
        return pb.ModelInferResponse()

    with serve(tmp_path, answer) as server:
        async with AsyncClient.from_profile(server.profile) as client:
            task = asyncio.create_task(client.infer("m", {"image": image}))
            assert await asyncio.to_thread(arrived.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(left.wait, 20)


async def test_calls_of_one_async_client_run_together(server: Server, image: Any) -> None:
    """Fifty calls at once each get their own answer."""
    async with AsyncClient.from_profile(server.profile) as client:
        asked = [client.infer("m", {"image": image + number}) for number in range(50)]
        for number, result in enumerate(await asyncio.gather(*asked)):
            np.testing.assert_array_equal(result["image"], image + number)


def test_any_error_of_a_call_is_of_the_family(server: Server, ask: Ask, image: Any) -> None:
    """One except clause is enough, and no grpc error passes it."""
    for model in ("unknown", "picky"):
        with pytest.raises(GuardhouseError):
            ask(server.profile, lambda client, model=model: client.infer(model, {"image": image}))
