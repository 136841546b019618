"""A model's configuration as far as a caller may know it: no paths, devices or options of what runs it."""

from __future__ import annotations

from guardhouse.protos import inference_pb2 as pb

from .models import Model


def config_of(model: Model) -> pb.ModelConfig:
    """What `ModelConfig` tells of *model*: what runs it, and its tensors. It takes no batches of its own."""
    taken, given = model.signature.inputs, model.signature.outputs
    return pb.ModelConfig(
        name=model.name,
        platform=model.platform,
        backend=model.platform.partition("_")[0],
        max_batch_size=0,
        input=[pb.ModelInput(name=t.name, data_type=_number(t.datatype), dims=t.shape) for t in taken],
        output=[pb.ModelOutput(name=t.name, data_type=_number(t.datatype), dims=t.shape) for t in given],
    )


def _number(datatype: str) -> pb.DataType.ValueType:
    """A datatype as a configuration writes it."""
    return pb.DataType.Value("TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}")
