"""The client for ordinary code: calls that wait for their answer."""

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Any, Self

import grpc
import numpy.typing as npt

from guardhouse.protos import guardhouse_pb2_grpc, inference_pb2_grpc

from .base import BaseClient
from .calls import Answer, Flow, Metadata, Send, T, Wait
from .errors import from_rpc
from .messages import Identity, ModelInfo, Parameter, Result, ServerInfo, streamed


class Client(BaseClient):
    """A connection to a model server; threads may share it. Close it, or use it in a `with` block.

    Calls raise `GuardhouseError` where the server refuses or cannot be reached, `TensorError` where the
    inputs cannot be sent, and ValueError where the client is closed. `sleep` waits between attempts.
    """

    def __init__(self, target: str, *, sleep: Callable[[float], None] = time.sleep, **settings: Any) -> None:
        super().__init__(target, **settings)
        self._sleep = sleep
        self._channel = self._open()
        inference = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._stubs: tuple[Any, ...] = (inference, guardhouse_pb2_grpc.GuardhouseStub(self._channel))

    def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
        *,
        version: str = "",
        outputs: Iterable[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
        raw: bool = True,
    ) -> Result:
        """Ask a model, and return its outputs by name.

        Args:
            model: The model's name.
            inputs: Arrays by input name. They are sent with the dtype they have; str and bytes, in lists or
                arrays, are sent as BYTES. Where a value is made of plain Python numbers, it takes the
                datatype that the model declares, which one ModelMetadata call finds out; it is remembered.
                For a model with one input the value may stand alone: then its name is looked up as well,
                an array is converted to the declared datatype if every value survives that (int64 7 to FP32,
                but not float64 0.1), and one item of a declared batch [-1, ...] becomes a batch of one.
            version: The model's version; "" lets the server choose.
            outputs: The outputs wanted; None for all.
            parameters: Extras for the server.
            request_id: The caller's own mark; the result repeats it.
            timeout: Seconds until `DeadlineExceeded`, look-up and retries included; None for the default.
            metadata: More request metadata.
            raw: Send the tensors as bytes; False sends them typed, for servers that want it. Slow.

        Returns:
            A mapping from output name to array. Arrays are read-only: they share the answer's memory.
        """
        return self._drive(
            self._calls.infer(
                model,
                inputs,
                version=version,
                outputs=outputs,
                parameters=parameters,
                request_id=request_id,
                timeout=timeout,
                metadata=metadata,
                raw=raw,
            )
        )

    def stream(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
        *,
        version: str = "",
        outputs: Iterable[str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Generator[Result, None, None]:
        """Ask a model that gives many answers, and yield each as it comes.

        Takes what `infer` takes and raises what it raises, also after some answers; it never tries again.
        Closing the generator, or leaving it, ends the call and the model's work. The trace's id comes last,
        so results have none.
        """
        step = self._drive(
            self._calls.question(
                model,
                inputs,
                version=version,
                outputs=outputs,
                parameters=parameters,
                request_id=request_id,
                timeout=timeout,
                metadata=metadata,
            )
        )
        call = self._stubs[0].ModelStreamInfer(
            iter((step.request,)),
            timeout=step.timeout,
            metadata=step.metadata,
            wait_for_ready=self._wait_for_ready,
        )
        try:
            for message in call:
                yield streamed(message)
        except grpc.RpcError as failure:
            raise from_rpc(failure) from failure
        finally:
            call.cancel()

    def metadata(self, model: str, *, version: str = "", timeout: float | None = None) -> ModelInfo:
        """Return what the model takes and gives."""
        return self._drive(self._calls.metadata(model, version=version, timeout=timeout))

    def ready(self, model: str | None = None, *, version: str = "", timeout: float | None = None) -> bool:
        """Tell whether the server, or the one model, would take a query now."""
        return self._drive(self._calls.ready(model, version=version, timeout=timeout))

    def live(self, *, timeout: float | None = None) -> bool:
        """Tell whether the server runs."""
        return self._drive(self._calls.live(timeout=timeout))

    def server_metadata(self, *, timeout: float | None = None) -> ServerInfo:
        """Return who is answering."""
        return self._drive(self._calls.server_metadata(timeout=timeout))

    def whoami(self, *, timeout: float | None = None) -> Identity:
        """Return who the server takes this client for, its roles, and what is left of its limits."""
        return self._drive(self._calls.whoami(timeout=timeout))

    def close(self) -> None:
        """Close the connection; calls under way are cancelled. Closing twice is fine."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> grpc.Channel:
        target, credentials, options = self._plan
        if credentials is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, credentials, options)

    def _drive(self, flow: Flow[T]) -> T:
        """Run a call's steps; `AsyncClient._drive` is the same with `await`."""
        resume: Callable[[], Send | Wait] = partial(next, flow)
        while True:
            try:
                step = resume()
            except StopIteration as done:
                result: T = done.value
                return result
            try:
                resume = partial(flow.send, self._perform(step))
            except grpc.RpcError as failure:
                resume = partial(flow.throw, failure)

    def _perform(self, step: Send | Wait) -> Answer | None:
        if isinstance(step, Wait):
            self._sleep(step.seconds)
            return None
        call = next(getattr(stub, step.method) for stub in self._stubs if hasattr(stub, step.method))
        message, done = call.with_call(
            step.request, timeout=step.timeout, metadata=step.metadata, wait_for_ready=self._wait_for_ready
        )
        return Answer(message, done.trailing_metadata() or ())
