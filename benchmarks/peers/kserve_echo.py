"""The model as KServe wants it, and its server; runs in its environment, not in ours."""

from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Echo(Model):  # type: ignore[misc]
    """Gives its tensor back."""

    def __init__(self) -> None:
        super().__init__("echo")
        self.ready = True

    async def predict(self, payload: InferRequest, *_more: Any, **_others: Any) -> InferResponse:
        """The first input, as a numpy array and back."""
        x = payload.inputs[0].as_numpy()
        output = InferOutput(name="y", shape=list(x.shape), datatype="FP32")
        output.set_data_from_numpy(x, binary_data=True)
        return InferResponse(response_id=payload.id or "", model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    ModelServer().start([Echo()])
