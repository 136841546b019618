"""A typed walk over a document: each value is asked for once, and every problem is collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TypeVar, cast

from . import ConfigError, Node, Problem, join
from .overrides import SET

T = TypeVar("T")
Word = TypeVar("Word", bound=str)


class Reader:
    """Collects the problems of one load; `finish` raises them all."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._sections: list[Section] = []

    def section(self, node: Node, *, broken: bool = False) -> Section:
        """*node* as a section; one that is no mapping is noted and reads as empty."""
        if node.kind != "a mapping":
            self.problems.append(node.problem(f"is {node.kind}; write a mapping of `key: value`"))
            node, broken = Node(node.file, node.line, node.column, node.key, "a mapping"), True
        made = Section(self, node, broken=broken)
        self._sections.append(made)
        return made

    def finish(self) -> None:
        """Note every key that nobody asked for. Raise ConfigError if there is any problem."""
        for section in self._sections:
            section.note_unknown()
        if self.problems:
            raise ConfigError(sorted(self.problems, key=lambda problem: (problem.file, problem.line)))


class Section:
    """A mapping with known keys. Asking for a key makes it known.

    What could not be read comes back as None, whatever its type says: `Reader.finish` raises before
    anybody can use it. Code that looks at several values of a section asks `sound` first.
    """

    def __init__(self, reader: Reader, node: Node, *, broken: bool) -> None:
        self.reader = reader
        self.node = node
        self._known: list[str] = []
        self._absent: dict[str, Problem] = {}
        self._broken = broken

    @property
    def sound(self) -> bool:
        """Whether everything asked for so far could be read."""
        return not self._broken

    def __contains__(self, key: str) -> bool:
        return key in self.node.fields

    def find(self, key: str) -> Node | None:
        """The value of *key*, unread, or None."""
        self._known.append(key)
        return self.node.fields.get(key)

    def note(self, message: str, key: str = "") -> None:
        """A problem with *key*, or with the section as a whole."""
        self._broken = True
        at = self.node.fields.get(key, self.node)
        self.reader.problems.append(at.problem(message, join(self.node.key, key) if key else None))

    def required(self, key: str, read: Callable[[Node], T], example: str) -> T:
        """The value of *key* by *read*, which raises ValueError for what it cannot take."""
        node = self.find(key)
        if node is not None:
            return self.value(node, read)
        self.missing(key, example)
        return cast("T", None)

    def optional(self, key: str, read: Callable[[Node], T], default: T) -> T:
        """The value of *key* by *read*, or *default* where it is not written."""
        node = self.find(key)
        return default if node is None else self.value(node, read)

    def each(self, key: str, read: Callable[[Node], T], example: str = "") -> tuple[T, ...]:
        """The values of the list at *key*; with an *example* there must be at least one."""
        return tuple(self.value(node, read) for node in self._items(key, example))

    def section(self, key: str, example: str = "") -> Section:
        """The section at *key*. One that is not written reads as empty; with an *example* it must be."""
        node = self.find(key)
        if node is not None:
            return self.reader.section(node)
        if example:
            self.missing(key, example)
        empty = Node(self.node.file, self.node.line, 0, join(self.node.key, key), "a mapping")
        return self.reader.section(empty, broken=bool(example))

    def sections(self, key: str, example: str = "") -> tuple[Section, ...]:
        """The sections in the list at *key*; with an *example* there must be at least one."""
        return tuple(self.reader.section(node) for node in self._items(key, example))

    def named_sections(self) -> dict[str, Section]:
        """This section's keys are names, not known words: every value as a section."""
        self._known.extend(self.node.fields)
        return {name: self.reader.section(node) for name, node in self.node.fields.items()}

    def unsupported(self, key: str, instead: str = "remove it") -> None:
        """*key* is a word of a later version: say so, never pass over it."""
        if self.find(key) is not None:
            self.note(f"`{key}` is not supported by this version of guardhouse; {instead}", key)

    def value(self, node: Node, read: Callable[[Node], T]) -> T:
        """*node* by *read*; a ValueError becomes a problem at its place."""
        try:
            return read(node)
        except ValueError as error:
            # A variable may hold a secret: people are shown its name.
            message = str(error).replace(node.text, node.raw) if node.text != node.raw else str(error)
            self.reader.problems.append(node.problem(message))
        self._broken = True
        return cast("T", None)

    def note_unknown(self) -> None:
        """Note every key that was never asked for. One misspelt is one problem, not also a missing one."""
        for name, node in self.node.fields.items():
            if name not in self._known:
                self.reader.problems.append(node.problem(f"unknown key{did_you_mean(name, self._known)}"))
                meant = self._absent.pop(nearest(name, self._known), None)
                if meant in self.reader.problems:
                    self.reader.problems.remove(meant)

    def missing(self, key: str, example: str) -> None:
        """A problem with *key* that is not written: what to write. Not with a section that is no section."""
        if self.sound or self.node.fields:
            self.note(f"missing; write {example}", key)
            self._absent[key] = self.reader.problems[-1]

    def _items(self, key: str, example: str) -> list[Node]:
        node = self.find(key)
        if node is None:
            if example:
                self.missing(key, example)
            return []
        if node.kind != "a list":
            self.note(f"is {node.kind}; write a list: {example or f'{key}: [...]'}", key)
        elif not node.items and example:
            self.note(f"is empty; write {example}", key)
        return node.items


def nearest(name: str, known: Iterable[str]) -> str:
    """The word of *known* that *name* was probably meant to be, or ""."""
    return next(iter(get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)), "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?", or the words there are."""
    words = sorted(set(known))
    near = nearest(name, words)
    if near:
        return f"; did you mean '{near}'?"
    return f"; the keys here are: {', '.join(words)}" if words else ""


def text(node: Node) -> str:
    """A scalar that is text, and says something. On the command line no quotes are needed."""
    if node.kind in {"a list", "a mapping", "empty"}:
        message = f"is {node.kind}; write text"
        raise ValueError(message)
    if node.kind != "text" and node.file != SET:
        message = f'is {node.kind}, not text; put it in quotes: "{node.raw}"'
        raise ValueError(message)
    if not node.text.strip() or node.text != node.text.strip():
        message = "is empty" if not node.text.strip() else f"`{node.raw}` begins or ends with a blank"
        raise ValueError(f"{message}; write text")
    if not node.text.isprintable():
        message = "holds a control character; take it out"
        raise ValueError(message)
    return node.text


def boolean(node: Node) -> bool:
    """`true` or `false`; not `yes`, `on` or "true" in quotes."""
    if node.kind == "true or false" and node.text in {"true", "false"}:
        return node.text == "true"
    message = f"is {_shown(node)}; write true or false"
    raise ValueError(message)


def integer(least: int, most: int) -> Callable[[Node], int]:
    """A reader of whole numbers between *least* and *most*."""

    def read(node: Node) -> int:
        digits = node.text.removeprefix("-")
        right = node.kind == "a number" and digits.isdecimal() and str(int(digits[:19])) == digits
        if right and least <= int(node.text) <= most:
            return int(node.text)
        message = f"is {_shown(node)}; write a whole number from {least} to {most}"
        raise ValueError(message)

    return read


def one_of(*words: Word) -> Callable[[Node], Word]:
    """A reader of one of *words*."""

    def read(node: Node) -> Word:
        if node.kind in {"a list", "a mapping", "empty"} or node.text not in words:
            message = f"is {_shown(node)}; write {' or '.join(words)}"
            raise ValueError(message)
        return next(word for word in words if word == node.text)

    return read


def _shown(node: Node) -> str:
    return node.kind if node.kind in {"a list", "a mapping", "empty"} else f"`{node.raw}`"
