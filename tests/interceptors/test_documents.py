"""YAML with places: what is refused, in which line, and in which words; and overrides."""

from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors import documents
from guardhouse.interceptors.documents import ConfigError, Node, Problem
from guardhouse.interceptors.documents.overrides import override
from guardhouse.interceptors.documents.sections import Reader, boolean, integer, one_of, text

BOMB = b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
BAD = {
    "not YAML": (b"a: 1\nb: [1, 2\n", 3, "not usable YAML"),
    "unclosed quote": (b'a: "x\n', 2, "not usable YAML"),
    "duplicate key": (b"a: 1\nb: 2\na: 3\n", 3, "a: stands here twice, first in line 1"),
    "duplicate key below": (b"a:\n  - {x: 1}\n  - x: 1\n    x: 2\n", 4, "a.1.x: stands here twice"),
    "alias": (b"a: &x 1\nb: *x\n", 1, "an anchor or alias; write the value out"),
    "bomb": (BOMB, 1, "anchor or alias"),
    "merge": (b"a: 1\n<<: *a\n", 2, "anchor or alias"),
    "tag": (b"a: 1\nb: !!python/object/apply:os.system [id]\n", 2, "a tag"),
    "local tag": (b"a: !secret x\n", 1, "a tag, !secret; leave it out"),
    "empty": (b"", 0, "is empty"),
    "only a comment": (b"# nothing\n", 0, "is empty"),
    "a list": (b"- a\n", 1, "is a list; write `key: value` lines"),
    "a word": (b"hello\n", 1, "is text; write `key: value` lines"),
    "two documents": (b"a: 1\n---\nb: 2\n", 2, "not usable YAML"),
    "tab": (b"a:\n\tb: 1\n", 2, "a tab indents this line; use spaces"),
    "tab after spaces": (b"a:\n  b: 1\n  \tc: 1\n", 3, "a tab indents this line"),
    "Latin-1": (b"a: 1\nb: caf\xe9\n", 2, "is not UTF-8"),
    "control character": (b"a: 1\nb: x\x07\n", 2, "holds a control character"),
    "number as key": (b"a: 1\n2: x\n", 2, 'a key that is not text; write "2"'),
    "boolean as key": (b"on: x\n", 1, 'a key that is not text; write "on"'),
    "list as key": (b"? [a]\n: x\n", 1, "a key that is not text"),
    "too deep": (b"a: " + b"[" * 5000 + b"]" * 5000, 1, "nested too deeply"),
    "unset variable": (b"a: 1\nb: ${NOT_SET}\n", 2, "the environment variable NOT_SET is not set"),
    "empty variable": (b"b: x${EMPTY}y\n", 1, "the environment variable EMPTY is not set, or empty"),
    "odd variable": (b"b: '${a-b}'\n", 1, "`${a-b}` is not a variable; write ${NAME}"),
    "open variable": (b"b: ${HOME\n", 1, "is not a variable"),
}
ENVIRONMENT = {"NAME": "value", "EMPTY": "", "SECRET": "hunter2"}


@pytest.mark.parametrize(("content", "line", "words"), BAD.values(), ids=BAD)
def test_bad_files_are_refused_by_line(content: Any, line: int, words: str) -> None:
    """Each bad file is refused in one line that names the file, the line, and what is wrong."""
    with pytest.raises(ConfigError) as refused:
        documents.parse(content, "some.yaml", ENVIRONMENT)
    said = str(refused.value)
    assert said.startswith(f"some.yaml:{line}: " if line else "some.yaml: ")
    assert words in said
    assert "\n" not in said


def test_all_problems_are_collected() -> None:
    """A file with three problems names all three, in the order of the lines."""
    with pytest.raises(ConfigError) as refused:
        documents.parse(b"a: ${X}\nb: 1\nb: 2\n3: x\n", "f", {})
    assert [problem.line for problem in refused.value.problems] == [1, 3, 4]
    assert "(and 2 more: guardhouse check)" in str(refused.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    """A file that is not there, or is a folder, or is huge, is refused by its name."""
    (tmp_path / "big.yaml").write_bytes(b"#" * (documents.MOST_BYTES + 1))
    for name, words in {"no.yaml": "no such file", ".": "is a directory", "big.yaml": "over 1 MiB"}.items():
        with pytest.raises(ConfigError, match=words) as refused:
            documents.read(tmp_path / name)
        assert refused.value.problems[0].file == str(tmp_path / name)


def test_values_know_their_place() -> None:
    """A value knows the line of its key, its own column, and its dotted key."""
    top = documents.parse(b"a:\n  - b: x\n    c:\n      d: y\n", "f")
    found = top.fields["a"].items[0].fields["c"]
    assert (found.key, found.line, found.fields["d"].column) == ("a.0.c", 3, 10)


def test_a_byte_order_mark_is_no_text() -> None:
    """A file saved with a byte order mark reads as one without."""
    assert list(documents.parse(b"\xef\xbb\xbfa: 1\n", "f").fields) == ["a"]


def test_variables_are_replaced_but_never_shown() -> None:
    """`${NAME}` becomes its value; an error about the value shows the variable, not what is in it."""
    top = documents.parse(b"a: x-${NAME}\nb: ${SECRET}\n", "f", ENVIRONMENT)
    reader = Reader()
    section = reader.section(top)
    assert section.required("a", text, "a: x") == "x-value"
    section.required("b", one_of("red", "blue"), "b: red")
    with pytest.raises(ConfigError) as refused:
        reader.finish()
    assert str(refused.value) == "f:2: b: is `${SECRET}`; write red or blue"


def test_a_reader_that_quotes_the_value_cannot_give_a_secret_away() -> None:
    """Even words that quote a variable's value reach people with its name in the place."""

    def quoting(node: Any) -> None:
        message = f"`{node.text}` is wrong"
        raise ValueError(message)

    reader = Reader()
    reader.section(documents.parse(b"b: ${SECRET}\n", "f", ENVIRONMENT)).required("b", quoting, "")
    assert reader.problems == [Problem("f", 1, "b", "`${SECRET}` is wrong")]


def test_files_without_variables_refuse_them() -> None:
    """Where variables are not replaced, `${NAME}` is an error and not a strange name."""
    with pytest.raises(ConfigError, match="variables are not replaced"):
        documents.parse(b"a: ${NAME}\n", "f", None)


SETTINGS = {
    "a.b=new": ("a.b", "text"),
    "models.0.name=x": ("models.0.name", "text"),
    "fresh.key=1": ("fresh.key", "a number"),
    "a={b: 1}": ("a", "a mapping"),
    "models.1={name: y}": ("models.1", "a mapping"),
}
BAD_SETTINGS = {
    "nothing": "--set: nothing: is not key=value",
    "=x": "is not key=value",
    "a..b=x": "is not key=value",
    "a=": "--set: a: has no value",
    "a.b.c=x": "--set: a.b.c: `a.b` is text and has no keys",
    "models.7.name=x": "--set: models.7: `models` is a list of 2; write a position from 0",
    "models.-1.name=x": "a list of 2",
    "models.x=1": "--set: models.x: `models` is a list of 2",
    "a=[": "not usable YAML",
    "a=${NOT_SET}": "--set: a: the environment variable NOT_SET is not set",
    "a={b: 1, b: 2}": "--set: a.b: stands here twice",
}


def _document() -> Node:
    return documents.parse(b"a: {b: old}\nmodels: [{name: m}, {name: n}]\n", "f")


@pytest.mark.parametrize(("setting", "expected"), SETTINGS.items())
def test_settings_replace_values(setting: str, expected: tuple[str, str]) -> None:
    """`--set` replaces a value at any depth, by name or position, and makes sections that are not there."""
    top = _document()
    override(top, [setting], {})
    key, kind = expected
    node = top
    for name in key.split("."):
        node = node.items[int(name)] if node.kind == "a list" else node.fields[name]
    assert (node.key, node.kind, node.file, node.line) == (key, kind, "--set", 0)


@pytest.mark.parametrize(("setting", "words"), BAD_SETTINGS.items())
def test_bad_settings_name_themselves(setting: str, words: str) -> None:
    """A setting that cannot be applied is refused in words that name `--set` and the key."""
    with pytest.raises(ConfigError) as refused:
        override(_document(), [setting], {})
    assert str(refused.value).startswith("--set: ")
    assert words in str(refused.value)


def test_settings_need_no_quotes() -> None:
    """On the command line a number may stand where text is wanted: the shell has eaten the quotes."""
    top = _document()
    override(top, ["models.0.version=2"], {})
    assert text(top.fields["models"].items[0].fields["version"]) == "2"


VALUES = {
    "number as text": (text, b"v: 1.10\n", 'is a number, not text; put it in quotes: "1.10"'),
    "date as text": (text, b"v: 2024-01-01\n", 'put it in quotes: "2024-01-01"'),
    "no as text": (text, b"v: no\n", 'is true or false, not text; put it in quotes: "no"'),
    "nothing as text": (text, b"v:\n", "is empty; write text"),
    "blanks": (text, b"v: ' x'\n", "begins or ends with a blank"),
    "only blanks": (text, b"v: ' '\n", "is empty; write text"),
    "line end": (text, b'v: "a\\nb"\n', "holds a control character"),
    "list as text": (text, b"v: [a]\n", "is a list; write text"),
    "yes": (boolean, b"v: yes\n", "is `yes`; write true or false"),
    "quoted true": (boolean, b"v: 'true'\n", "is `true`; write true or false"),
    "text as number": (integer(1, 9), b"v: '3'\n", "write a whole number from 1 to 9"),
    "octal": (integer(1, 99), b"v: 010\n", "is `010`; write a whole number"),
    "underscores": (integer(1, 9999), b"v: 1_000\n", "is `1_000`"),
    "sixties": (integer(1, 9999), b"v: 1:30\n", "is `1:30`"),
    "too much": (integer(1, 9), b"v: 10\n", "from 1 to 9"),
    "negative": (integer(1, 9), b"v: -1\n", "from 1 to 9"),
    "float": (integer(1, 9), b"v: 2.0\n", "is `2.0`"),
    "huge": (integer(1, 9), b"v: " + b"9" * 9999 + b"\n", "from 1 to 9"),
}


@pytest.mark.parametrize(("read", "content", "words"), VALUES.values(), ids=VALUES)
def test_values_of_the_wrong_kind(read: Any, content: Any, words: str) -> None:
    """No kind of value is taken for another: the refusal says what stands there and what to write."""
    reader = Reader()
    reader.section(documents.parse(content, "f")).required("v", read, "v: x")
    with pytest.raises(ConfigError) as refused:
        reader.finish()
    assert words in str(refused.value)


def test_keys_nobody_asked_for_are_refused() -> None:
    """A key that no code asks for is an unknown key, with the nearest one there is."""
    reader = Reader()
    section = reader.section(documents.parse(b"pollicy: x\nzzz: y\n", "f"))
    section.optional("policy", text, "")
    with pytest.raises(ConfigError) as refused:
        reader.finish()
    first, second = map(str, refused.value.problems)
    assert first == "f:1: pollicy: unknown key; did you mean 'policy'?"
    assert second == "f:2: zzz: unknown key; the keys here are: policy"
