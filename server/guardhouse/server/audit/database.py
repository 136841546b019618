"""DuckDB over the files of a ledger. It can read those files and nothing else, and write nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from .question import Query


class QueryError(Exception):
    """The files could not be searched. One line for the operator."""


class Database:
    """Asks questions of the same files, as they were when they were opened or longer."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
        self._connection, self._files = connection, files

    def ask(self, query: Query) -> list[tuple[Any, ...]]:
        """The rows of the answer. Raises QueryError."""
        try:
            return self._connection.execute(query.sql, {**query.parameters, "files": self._files}).fetchall()
        except duckdb.Error as error:
            words = str(error).splitlines()[0]
            raise QueryError(
                f"{words[:300]}; `guardhouse audit verify` names a line that is no line"
            ) from error


@contextmanager
def searching(paths: Sequence[Path]) -> Iterator[Database]:
    """A database over the lines of *paths*. Raises OSError where one cannot be opened."""
    with ExitStack() as stack:
        files = [_opened(path, stack) for path in paths]
        settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        connection = stack.enter_context(closing(duckdb.connect(config={**settings, "temp_directory": ""})))
        connection.execute("SET allowed_paths = ?", [files])
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield Database(connection, files)


def _opened(path: Path, stack: ExitStack) -> str:
    """A name of the open file *path* in which nothing can be taken for a pattern or an address."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return f"/dev/fd/{descriptor}"
