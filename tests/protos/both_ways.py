"""Our modules and Triton's in one process, each serving the other's client.

Run by test_proto_beside_triton.py in a fresh process; the argument says which are imported first.
"""

import sys
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

if sys.argv[1] == "ours-first":
    from tritonclient import grpc as triton
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    from guardhouse.protos import guardhouse_pb2, inference_pb2, inference_pb2_grpc
else:
    from tritonclient import grpc as triton
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    if not TYPE_CHECKING:
        from guardhouse.protos import guardhouse_pb2, inference_pb2, inference_pb2_grpc  # noqa: F401


def servicer(base: Any, messages: Any) -> Any:
    """Return a servicer that doubles tensors, made of one side's classes."""

    class Doubler(base):  # type: ignore[misc]
        def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
            return messages.ServerLiveResponse(live=True)

        def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
            assert isinstance(request, messages.ModelStatisticsRequest)
            stats = messages.ModelStatistics(name=request.name, inference_count=7)
            return messages.ModelStatisticsResponse(model_stats=[stats])

        def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
            assert isinstance(request, messages.ModelInferRequest)
            doubled = np.frombuffer(request.raw_input_contents[0], np.float32) * 2
            answer = messages.ModelInferResponse(model_name=request.model_name, id=request.id)
            answer.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
            answer.raw_output_contents.append(doubled.tobytes())
            return answer

        def ModelStreamInfer(self, requests: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
            for request in requests:
                answer = self.ModelInfer(request, context)
                yield messages.ModelStreamInferResponse(infer_response=answer)

    return Doubler()


def serve(register: Any, doubler: Any) -> tuple[grpc.Server, str]:
    """Start a server on a free port; return it and its address."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    register(doubler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def call_as_triton(address: str) -> None:
    """Call every served method through Triton's own client."""
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.get_inference_statistics("m").model_stats[0].inference_count == 7
        tensor = triton.InferInput("x", [2], "FP32")
        tensor.set_data_from_numpy(np.array([1, 2], np.float32))
        answer = client.infer("m", [tensor], request_id="a")
        assert answer.as_numpy("y").tolist() == [2, 4]
        received: list[Any] = []
        client.start_stream(lambda result, error: received.append((result, error)))
        client.async_stream_infer("m", [tensor], request_id="b")
        client.stop_stream()
        assert [(r.get_response().id, r.as_numpy("y").tolist(), e) for r, e in received] == [
            ("b", [2, 4], None)
        ]


def call_as_us(address: str) -> None:
    """Call every served method through our stub."""
    request = inference_pb2.ModelInferRequest(model_name="m", id="a")
    request.inputs.add(name="x", datatype="FP32", shape=[2])
    request.raw_input_contents.append(np.array([1, 2], np.float32).tobytes())
    with grpc.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(inference_pb2.ServerLiveRequest()).live
        statistics = stub.ModelStatistics(inference_pb2.ModelStatisticsRequest(name="m"))
        assert statistics.model_stats[0].inference_count == 7
        answers = [stub.ModelInfer(request)]
        answers += [m.infer_response for m in stub.ModelStreamInfer(iter([request] * 2))]
        for answer in answers:
            assert isinstance(answer, inference_pb2.ModelInferResponse)
            assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [2, 4]
        unwritten = stub.ModelConfig.future(inference_pb2.ModelConfigRequest())
        assert unwritten.code() is grpc.StatusCode.UNIMPLEMENTED


def main() -> None:
    """Serve with ours and call with Triton's; then the other way round."""
    ours = servicer(inference_pb2_grpc.GRPCInferenceServiceServicer, inference_pb2)
    theirs = servicer(service_pb2_grpc.GRPCInferenceServiceServicer, service_pb2)
    for register, doubler, call in (
        (inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, ours, call_as_triton),
        (service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, theirs, call_as_us),
    ):
        server, address = serve(register, doubler)
        call(address)
        server.stop(None).wait()
    print("both ways")


main()
