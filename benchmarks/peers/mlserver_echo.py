"""The model as MLServer wants it; runs in its environment, not in ours."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Echo(MLModel):  # type: ignore[misc]
    """Gives its tensor back."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The first input, as a numpy array and back."""
        x = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", x)])
