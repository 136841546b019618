"""The client for asyncio: the same calls as `Client`, each a coroutine."""

# ruff: noqa: ASYNC109 - the timeout of a call is its deadline on the wire, not that of a coroutine

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

import grpc
import numpy.typing as npt

from guardhouse.protos import guardhouse_pb2_grpc, inference_pb2_grpc

from .base import BaseClient
from .calls import Answer, Flow, Metadata, Send, T, Wait
from .errors import from_rpc
from .messages import Identity, ModelInfo, Parameter, Result, ServerInfo, streamed


class AsyncClient(BaseClient):
    """A connection to a model server, for one event loop. Close it, or use it in an `async with` block.

    Its calls take what those of `Client` take and raise what they raise; cancelling a call's task cancels
    the call. The connection is opened by the first call, and belongs to the loop of that call.
    """

    def __init__(
        self, target: str, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep, **settings: Any
    ) -> None:
        super().__init__(target, **settings)
        self._sleep = sleep
        self._channel: grpc.aio.Channel | None = None
        self._stubs: tuple[Any, ...] = ()
        self._closed = False

    async def infer(
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
        """Ask a model, and return its outputs by name; see `Client.infer`."""
        return await self._drive(
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

    async def stream(
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
    ) -> AsyncGenerator[Result, None]:
        """Ask a model that gives many answers, and yield each as it comes; see `Client.stream`."""
        step = await self._drive(
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
        call = self._method(step.method)(
            iter((step.request,)),
            timeout=step.timeout,
            metadata=step.metadata,
            wait_for_ready=self._wait_for_ready,
        )
        try:
            async for message in call:
                yield streamed(message)
        except grpc.RpcError as failure:
            raise from_rpc(failure) from failure
        finally:
            call.cancel()

    async def metadata(self, model: str, *, version: str = "", timeout: float | None = None) -> ModelInfo:
        """Return what the model takes and gives."""
        return await self._drive(self._calls.metadata(model, version=version, timeout=timeout))

    async def ready(
        self,
        model: str | None = None,
        *,
        version: str = "",
        timeout: float | None = None,
    ) -> bool:
        """Tell whether the server, or the one model, would take a query now."""
        return await self._drive(self._calls.ready(model, version=version, timeout=timeout))

    async def live(self, *, timeout: float | None = None) -> bool:
        """Tell whether the server runs."""
        return await self._drive(self._calls.live(timeout=timeout))

    async def server_metadata(self, *, timeout: float | None = None) -> ServerInfo:
        """Return who is answering."""
        return await self._drive(self._calls.server_metadata(timeout=timeout))

    async def whoami(self, *, timeout: float | None = None) -> Identity:
        """Return who the server takes this client for, its roles, and what is left of its limits."""
        return await self._drive(self._calls.whoami(timeout=timeout))

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled. Closing twice is fine."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def _open(self) -> grpc.aio.Channel:
        target, credentials, options = self._plan
        if credentials is None:
            return grpc.aio.insecure_channel(target, options)
        return grpc.aio.secure_channel(target, credentials, options)

    async def _drive(self, flow: Flow[T]) -> T:
        """Run a call's steps; `Client._drive` is the same without `await`."""
        resume: Callable[[], Send | Wait] = partial(next, flow)
        while True:
            try:
                step = resume()
            except StopIteration as done:
                result: T = done.value
                return result
            try:
                resume = partial(flow.send, await self._perform(step))
            except grpc.RpcError as failure:
                resume = partial(flow.throw, failure)

    async def _perform(self, step: Send | Wait) -> Answer | None:
        if isinstance(step, Wait):
            await self._sleep(step.seconds)
            return None
        call = self._method(step.method)(
            step.request, timeout=step.timeout, metadata=step.metadata, wait_for_ready=self._wait_for_ready
        )
        message = await call
        return Answer(message, await call.trailing_metadata() or ())

    def _method(self, name: str) -> Any:
        """Return the callable of an RPC; the channel is opened here, where its event loop runs."""
        if self._closed:
            raise ValueError("the client is closed")
        if self._channel is None:
            self._channel = self._open()
            inference = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)
            self._stubs = (inference, guardhouse_pb2_grpc.GuardhouseStub(self._channel))
        return next(getattr(stub, name) for stub in self._stubs if hasattr(stub, name))
