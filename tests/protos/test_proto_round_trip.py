"""Messages made by our classes read the same in Triton's, and back, through bytes."""

import pickle
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from tritonclient.grpc import service_pb2

from guardhouse.protos import guardhouse_pb2, inference_pb2

SAMPLES: dict[int, Any] = {
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_DOUBLE: -2.5e300,
    FieldDescriptor.CPPTYPE_ENUM: 1,
    FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    FieldDescriptor.CPPTYPE_INT32: -(2**31),
    FieldDescriptor.CPPTYPE_INT64: -(2**63),
    FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
    FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1,
}

EXCHANGED = [name for name in inference_pb2.DESCRIPTOR.message_types_by_name if hasattr(service_pb2, name)]


def sample(field: Any) -> Any:
    """Return a value at the edge of a scalar field's range."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return b"\x00\xff" if field.type == FieldDescriptor.TYPE_BYTES else "naïve"
    return SAMPLES[field.cpp_type]


def fill(message: Message) -> Message:
    """Set every field of a message, all the way down."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is None:
            fill_scalar(message, field)
        elif field.message_type.GetOptions().map_entry:
            fill_map(value, *field.message_type.fields)
        elif field.is_repeated:
            fill(value.add())
        else:
            fill(value)
            value.SetInParent()
    return message


def fill_scalar(message: Message, field: Any) -> None:
    """Set a field that is no message: two elements, where it is repeated."""
    if field.is_repeated:
        getattr(message, field.name).extend([sample(field)] * 2)
    else:
        setattr(message, field.name, sample(field))


def fill_map(entries: Any, key: Any, value: Any) -> None:
    """Put one entry into a map, by the fields that describe its keys and values."""
    if value.message_type is None:
        entries[sample(key)] = sample(value)
    else:
        fill(entries[sample(key)])


def reserved_numbers(message: Message) -> set[int]:
    """Return the field numbers that a message keeps from being declared."""
    proto = DescriptorProto()
    message.DESCRIPTOR.CopyToProto(proto)
    return {number for span in proto.reserved_range for number in range(span.start, span.end)}


@pytest.mark.parametrize("name", EXCHANGED)
def test_ours_through_tritons(name: str) -> None:
    """A message of ours, every field set, is fully understood by Triton's class and comes back equal."""
    ours = fill(getattr(inference_pb2, name)())
    theirs = getattr(service_pb2, name).FromString(ours.SerializeToString())
    assert len(UnknownFieldSet(theirs)) == 0
    assert json_format.MessageToDict(theirs) == json_format.MessageToDict(ours)
    assert type(ours).FromString(theirs.SerializeToString()) == ours


@pytest.mark.parametrize("name", EXCHANGED)
def test_tritons_through_ours(name: str) -> None:
    """A message of Triton's comes back equal through our class, which lacks only what it reserves."""
    theirs = fill(getattr(service_pb2, name)())
    ours = getattr(inference_pb2, name).FromString(theirs.SerializeToString())
    unknown = UnknownFieldSet(ours)
    assert {unknown[i].field_number for i in range(len(unknown))} <= reserved_numbers(ours)
    assert type(theirs).FromString(ours.SerializeToString()) == theirs


@pytest.mark.parametrize("module", [inference_pb2, guardhouse_pb2], ids=lambda module: module.__name__)
def test_every_message_survives_bytes_json_and_pickle(module: Any) -> None:
    """Any message of ours, every field set, is equal after bytes, after JSON, and after pickling."""
    for name in module.DESCRIPTOR.message_types_by_name:
        kind = getattr(module, name)
        message = fill(kind())
        assert kind.FromString(message.SerializeToString()) == message
        assert json_format.Parse(json_format.MessageToJson(message), kind()) == message
        assert pickle.loads(pickle.dumps(message)) == message
