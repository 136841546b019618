"""YAML files read so that every value knows its file, line and column, and nothing is guessed.

Only the plain part of YAML: no aliases, no tags, no second document, no key twice. Numbers are not text
and text is not a number: `1.10` in place of a name is refused, not turned into "1.1".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

MOST_BYTES: Final = 1024 * 1024
MOST_DEPTH: Final = 20
VARIABLE: Final = re.compile(r"\$\{([^}]*)\}?")
VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TAG: Final = "tag:yaml.org,2002:"
KINDS: Final = {
    f"{TAG}str": "text",
    f"{TAG}value": "text",
    f"{TAG}merge": "text",
    f"{TAG}int": "a number",
    f"{TAG}float": "a number",
    f"{TAG}bool": "true or false",
    f"{TAG}null": "empty",
    f"{TAG}timestamp": "a date",
    f"{TAG}seq": "a list",
    f"{TAG}map": "a mapping",
}


class Problem(NamedTuple):
    """One thing wrong with a file. *line* is 0 where it has none, *key* is "" for the whole file."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.key, self.message) if part)


class ConfigError(Exception):
    """A file that cannot be used. Its text is one line; `problems` holds everything found wrong."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        more = len(self.problems) - 1
        super().__init__(str(self.problems[0]) + (f" (and {more} more: guardhouse check)" if more else ""))


@dataclass(slots=True)
class Node:
    """A value and its place.

    Attributes:
        file: The file as the user named it; "--set" for an override.
        line: From 1; the line of its key, where it has one. 0 in an override.
        column: From 1, of the value itself.
        key: Dotted path from the top: "models.0.name"; "" is the top.
        kind: One of `KINDS`' values.
        text: A scalar's text, variables replaced.
        raw: A scalar's text as written. What is shown to people, since a variable may hold a secret.
        items: The values of a list.
        fields: The values of a mapping.
    """

    file: str
    line: int
    column: int
    key: str
    kind: str
    text: str = ""
    raw: str = ""
    items: list[Node] = field(default_factory=list)
    fields: dict[str, Node] = field(default_factory=dict)

    def problem(self, message: str, key: str | None = None) -> Problem:
        """A problem at this place."""
        return Problem(self.file, self.line, self.key if key is None else key, message)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, cut down while it composes: so a bomb is refused before it is built."""

    depth = 0

    def compose_node(self, parent: yaml.nodes.Node | None, index: int) -> yaml.nodes.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call] # so in types-PyYAML
        if isinstance(event, yaml.events.AliasEvent) or event.anchor is not None:
            raise yaml.MarkedYAMLError(
                None, None, "an anchor or alias; write the value out", event.start_mark
            )
        if event.tag is not None:
            raise yaml.MarkedYAMLError(None, None, f"a tag, {event.tag}; leave it out", event.start_mark)
        if self.depth >= MOST_DEPTH:
            raise yaml.MarkedYAMLError(None, None, "nested too deeply", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read(path: Path, environment: Mapping[str, str] | None = None) -> Node:
    """The mapping in the YAML file at *path*.

    Args:
        path: At most 1 MiB of UTF-8.
        environment: Where `${NAME}` in text is looked up. None: this file may have no variables.

    Raises:
        ConfigError: with every problem found, as far as one can go on after it.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError([Problem(file, 0, "", f"cannot be read: {reason}; check the path")]) from None
    if len(content) > MOST_BYTES:
        raise ConfigError([Problem(file, 0, "", "is over 1 MiB; a configuration is smaller")])
    return parse(content, file, environment)


def parse(content: bytes, file: str, environment: Mapping[str, str] | None = None) -> Node:
    """The mapping in *content*, which is called *file* in errors. See `read`."""
    text = _decode(content, file)
    top = compose(text, file)
    if top is None:
        raise ConfigError([Problem(file, 0, "", "is empty; `guardhouse init` writes one to start from")])
    problems: list[Problem] = []
    node = convert(top, file, "", environment, problems)
    if node.kind != "a mapping":
        problems.append(node.problem(f"is {node.kind}; write `key: value` lines"))
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line))
    return node


def _decode(content: bytes, file: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file, line, "", "is not UTF-8; save the file as UTF-8")]) from None
    tabbed = [number for number, line in enumerate(text.split("\n"), 1) if re.match(r" *\t\s*\S", line)]
    if tabbed:
        raise ConfigError(
            Problem(file, number, "", "a tab indents this line; use spaces") for number in tabbed
        )
    return text


def compose(text: str, file: str) -> yaml.nodes.Node | None:
    """PyYAML's tree of *text*, None where there is nothing. Raises ConfigError."""
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(" ".join(part.split()) for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else 0
        raise ConfigError([Problem(file, line, "", f"not usable YAML: {what}")]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([Problem(file, line, "", "holds a control character; take it out")]) from None


def convert(
    node: yaml.nodes.Node, file: str, key: str, environment: Mapping[str, str] | None, problems: list[Problem]
) -> Node:
    """PyYAML's *node* as ours; what is wrong with it is added to *problems*."""
    mark = node.start_mark
    made = Node(file, mark.line + 1, mark.column + 1, key, KINDS[node.tag])
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            _add_field(made, name, value, environment, problems)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            made.items.append(convert(value, file, join(key, str(position)), environment, problems))
    else:
        made.raw = made.text = node.value
        if made.kind == "text":
            _replace_variables(made, environment, problems)
    return made


def join(key: str, name: str) -> str:
    """The path of *name* below *key*."""
    return f"{key}.{name}" if key else name


def _add_field(
    parent: Node,
    name: yaml.nodes.Node,
    value: yaml.nodes.Node,
    environment: Mapping[str, str] | None,
    problems: list[Problem],
) -> None:
    line = name.start_mark.line + 1
    if not isinstance(name, yaml.ScalarNode) or KINDS[name.tag] != "text":
        shown = f' "{name.value}"' if isinstance(name, yaml.ScalarNode) else " a word"
        problems.append(Problem(parent.file, line, parent.key, f"a key that is not text; write{shown}"))
        return
    key = join(parent.key, name.value)
    if name.value in parent.fields:
        first = parent.fields[name.value].line
        problems.append(
            Problem(parent.file, line, key, f"stands here twice, first in line {first}; keep one")
        )
        return
    made = convert(value, parent.file, key, environment, problems)
    made.line = line
    parent.fields[name.value] = made


def _replace_variables(node: Node, environment: Mapping[str, str] | None, problems: list[Problem]) -> None:
    if "${" not in node.raw:
        return
    if environment is None:
        problems.append(node.problem("variables are not replaced in this file; write the value"))
        return
    for found in VARIABLE.finditer(node.raw):
        name = found[1]
        if not VARIABLE_NAME.fullmatch(name) or not found[0].endswith("}"):
            problems.append(node.problem(f"`{found[0]}` is not a variable; write ${{NAME}}"))
        elif not environment.get(name):
            problems.append(node.problem(f"the environment variable {name} is not set, or empty; set {name}"))
    node.text = VARIABLE.sub(lambda found: environment.get(found[1], ""), node.raw)
