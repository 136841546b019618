"""The numbers on the wire: against a table of the published protocol, and against Triton's own classes."""

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto
from tritonclient.grpc import model_config_pb2, service_pb2

from guardhouse.protos import guardhouse_pb2, inference_pb2

NAMED = {"name": 1, "version": 2}
TENSOR = {"name": 1, "datatype": 2, "shape": 3}
CARRIED_TENSOR = TENSOR | {"parameters": 4, "contents": 5}
LOAD = {"repository_name": 1, "model_name": 2, "parameters": 3}

PUBLISHED: dict[str, dict[str, int]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": 1},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": 1},
    "ModelReadyRequest": NAMED,
    "ModelReadyResponse": {"ready": 1},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": NAMED | {"extensions": 3},
    "ModelMetadataRequest": NAMED,
    "ModelMetadataResponse": {"name": 1, "versions": 2, "platform": 3, "inputs": 4, "outputs": 5},
    "ModelMetadataResponse.TensorMetadata": TENSOR,
    "ModelInferRequest": {
        "model_name": 1,
        "model_version": 2,
        "id": 3,
        "parameters": 4,
        "inputs": 5,
        "outputs": 6,
        "raw_input_contents": 7,
    },
    "ModelInferRequest.InferInputTensor": CARRIED_TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": {"name": 1, "parameters": 2},
    "ModelInferResponse": {
        "model_name": 1,
        "model_version": 2,
        "id": 3,
        "parameters": 4,
        "outputs": 5,
        "raw_output_contents": 6,
    },
    "ModelInferResponse.InferOutputTensor": CARRIED_TENSOR,
    "InferParameter": {
        "bool_param": 1,
        "int64_param": 2,
        "string_param": 3,
        "double_param": 4,
        "uint64_param": 5,
    },
    "InferTensorContents": {
        "bool_contents": 1,
        "int_contents": 2,
        "int64_contents": 3,
        "uint_contents": 4,
        "uint64_contents": 5,
        "fp32_contents": 6,
        "fp64_contents": 7,
        "bytes_contents": 8,
    },
    "ModelStreamInferResponse": {"error_message": 1, "infer_response": 2},
    "RepositoryIndexRequest": {"repository_name": 1, "ready": 2},
    "RepositoryIndexResponse": {"models": 1},
    "RepositoryIndexResponse.ModelIndex": NAMED | {"state": 3, "reason": 4},
    "RepositoryModelLoadRequest": LOAD,
    "RepositoryModelLoadResponse": {},
    "RepositoryModelUnloadRequest": LOAD,
    "RepositoryModelUnloadResponse": {},
    "ModelRepositoryParameter": {"bool_param": 1, "int64_param": 2, "string_param": 3, "bytes_param": 4},
}

TYPED_CONTENTS = {
    "bool_contents": FieldDescriptor.TYPE_BOOL,
    "int_contents": FieldDescriptor.TYPE_INT32,
    "int64_contents": FieldDescriptor.TYPE_INT64,
    "uint_contents": FieldDescriptor.TYPE_UINT32,
    "uint64_contents": FieldDescriptor.TYPE_UINT64,
    "fp32_contents": FieldDescriptor.TYPE_FLOAT,
    "fp64_contents": FieldDescriptor.TYPE_DOUBLE,
    "bytes_contents": FieldDescriptor.TYPE_BYTES,
}

STREAMING = {"ModelStreamInfer"}
METHODS = {
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelStreamInfer",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
}


def with_nested(message: Descriptor) -> list[Descriptor]:
    """Return a message and all declared inside it, map entries left out."""
    found = [message]
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            found += with_nested(nested)
    return found


def every_message(*files: object) -> dict[str, Descriptor]:
    """Return the messages of generated modules by their name within the package."""
    tops = [top for file in files for top in file.DESCRIPTOR.message_types_by_name.values()]  # type: ignore[attr-defined]
    return {m.full_name.removeprefix("inference."): m for top in tops for m in with_nested(top)}


OURS = every_message(inference_pb2)
TRITONS = every_message(service_pb2, model_config_pb2)


def service(module: object) -> ServiceDescriptor:
    """Return the inference service of a generated module."""
    found: ServiceDescriptor = module.DESCRIPTOR.services_by_name["GRPCInferenceService"]  # type: ignore[attr-defined]
    return found


def wire_form(field: FieldDescriptor) -> tuple[object, ...]:
    """Return what of a field decides its bytes."""
    named = field.message_type or field.enum_type
    return field.number, field.type, field.is_repeated, named and named.full_name


@pytest.mark.parametrize("name", PUBLISHED)
def test_field_numbers_are_the_published_ones(name: str) -> None:
    """Core, stream and repository messages have exactly the published fields and numbers."""
    assert {field.name: field.number for field in OURS[name].fields} == PUBLISHED[name]


def test_typed_contents_have_the_published_types() -> None:
    """Each typed field of a tensor is a repeated one of the published element type."""
    fields = OURS["InferTensorContents"].fields_by_name
    assert {name: field.type for name, field in fields.items()} == TYPED_CONTENTS
    assert all(field.is_repeated for field in fields.values())


@pytest.mark.parametrize("name", OURS)
def test_every_field_is_tritons(name: str) -> None:
    """Each field we declare has the number, type and repetition that Triton's class gives to its name."""
    theirs = TRITONS[name].fields_by_name
    for field in OURS[name].fields:
        assert wire_form(field) == wire_form(theirs[field.name]), field.full_name


@pytest.mark.parametrize("name", OURS)
def test_what_is_left_out_is_reserved(name: str) -> None:
    """A number that Triton uses and we do not is reserved, so that nobody ever gives it another meaning."""
    proto = DescriptorProto()
    OURS[name].CopyToProto(proto)
    reserved = {number for span in proto.reserved_range for number in range(span.start, span.end)}
    ours = {field.number for field in OURS[name].fields}
    assert {field.number for field in TRITONS[name].fields} <= ours | reserved
    assert not ours & reserved


def test_enumerations_are_tritons() -> None:
    """Every enumeration value has Triton's number."""
    ours = inference_pb2.DESCRIPTOR.enum_types_by_name["DataType"]
    theirs = model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"]
    assert ours.values_by_name.keys() == theirs.values_by_name.keys()
    assert all(v.number == theirs.values_by_name[name].number for name, v in ours.values_by_name.items())
    assert dict(inference_pb2.ModelInput.Format.items()) == dict(model_config_pb2.ModelInput.Format.items())


def test_methods_are_the_published_ones() -> None:
    """The service has the twelve methods, on the published path, with Triton's types and directions."""
    ours, theirs = service(inference_pb2), service(service_pb2)
    assert ours.full_name == "inference.GRPCInferenceService"
    assert set(ours.methods_by_name) == METHODS
    for name, method in ours.methods_by_name.items():
        other = theirs.methods_by_name[name]
        assert method.input_type.full_name == other.input_type.full_name
        assert method.output_type.full_name == other.output_type.full_name
        assert method.client_streaming == method.server_streaming == (name in STREAMING)


def test_disputed_metadata_field_is_kept_unknown() -> None:
    """Field 6 of ModelMetadataResponse, on which published protos disagree, passes unread and whole."""
    foreign = b"\x32\x03abc"  # field 6, three bytes that are neither form of the map
    message = inference_pb2.ModelMetadataResponse.FromString(foreign)
    assert not message.ListFields()
    assert message.SerializeToString() == foreign


def test_who_am_i_fields() -> None:
    """The answer to WhoAmI has the fields that clients branch on, at numbers that must never change."""
    answer, limit = guardhouse_pb2.WhoAmIResponse.DESCRIPTOR, guardhouse_pb2.Limit.DESCRIPTOR
    assert [field.name for field in answer.fields] == [
        *("subject", "roles", "proofs", "certificate_id", "issuer", "expires_unix_seconds", "limits")
    ]
    assert [field.name for field in limit.fields] == [
        *("scope", "kind", "limit", "burst", "remaining", "reset_seconds", "name", "unit")
    ]
    assert [field.number for field in answer.fields] == list(range(1, 8))
    assert [field.number for field in limit.fields] == list(range(1, 9))
    assert "Guardhouse" in guardhouse_pb2.DESCRIPTOR.services_by_name
    assert not guardhouse_pb2.DESCRIPTOR.dependencies
