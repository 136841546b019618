"""`--set key=value`: values from the command line put over those of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from . import ConfigError, Node, Problem, compose, convert, join

SET: Final = "--set"


def override(top: Node, settings: Iterable[str], environment: Mapping[str, str] | None = None) -> None:
    """Put every `dotted.key=value` of *settings* over what *top* holds. Values are YAML.

    Raises:
        ConfigError: naming `--set`, with every setting that cannot be applied.
    """
    problems: list[Problem] = []
    for setting in settings:
        try:
            _apply(top, setting, environment)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)


def _apply(top: Node, setting: str, environment: Mapping[str, str] | None) -> None:
    key, equals, text = setting.partition("=")
    names = key.split(".")
    if not equals or not all(names):
        raise _unusable(setting, "is not key=value; write for example tokens.required=false")
    parent = top
    for depth, name in enumerate(names[:-1]):
        parent = _child(parent, name, ".".join(names[: depth + 1]))
    _put(parent, names[-1], _value(key, text, environment))


def _unusable(key: str, message: str) -> ConfigError:
    return ConfigError([Problem(SET, 0, key, message)])


def _value(key: str, text: str, environment: Mapping[str, str] | None) -> Node:
    try:
        composed = compose(text, SET)
    except ConfigError as error:
        raise _unusable(key, error.problems[0].message) from None
    if composed is None:
        raise _unusable(key, "has no value; write key=value")
    problems: list[Problem] = []
    node = convert(composed, SET, key, environment, problems)
    if problems:
        raise ConfigError(problem._replace(line=0) for problem in problems)
    _place(node)
    return node


def _place(node: Node) -> None:
    """Nothing on the command line has a line of a file."""
    node.line = 0
    for child in (*node.items, *node.fields.values()):
        _place(child)


def _child(parent: Node, name: str, key: str) -> Node:
    """What *name* leads to below *parent*: made, if it is a mapping that is not there yet."""
    if parent.kind == "a list":
        return parent.items[_position(parent, name, key)]
    _demand_mapping(parent, name)
    return parent.fields.setdefault(name, Node(SET, 0, 0, join(parent.key, name), "a mapping"))


def _put(parent: Node, name: str, value: Node) -> None:
    if parent.kind == "a list":
        parent.items[_position(parent, name, value.key)] = value
        return
    _demand_mapping(parent, name)
    parent.fields[name] = value


def _demand_mapping(parent: Node, name: str) -> None:
    if parent.kind != "a mapping":
        raise _unusable(join(parent.key, name), f"`{parent.key}` is {parent.kind} and has no keys")


def _position(parent: Node, name: str, key: str) -> int:
    if name.isascii() and name.isdigit() and int(name) < len(parent.items):
        return int(name)
    raise _unusable(key, f"`{parent.key}` is a list of {len(parent.items)}; write a position from 0")
