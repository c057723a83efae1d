"""A query of a database by SQLAlchemy, read only: its rows as mappings, one at a time where one can't be read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, Select, column, create_engine, event, make_url, select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tasks.corpus.sources.sql_rows import Key
from tasks.errors import ConfigurationError, DependencyError, ParseError
from tasks.params.sources import SqlSource

Record = Mapping[str, Any]
_ROWS_AT_ONCE = 1000
_CONNECT_SECONDS = 15
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
UNREADABLE = (DBAPIError, ValueError, ArithmeticError)
"""What drivers raise over one value: a year beyond 9999, bytes that are no text, a number out of range."""


class Database:
    """The query of one source; each method needs the connection that `connect` yields."""

    def __init__(self, source: SqlSource) -> None:
        self._source = source
        self._password = _password(source)
        self._engine: Engine | None = None

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection in one transaction that sees one state of the database and writes nothing.

        Raises:
            DependencyError: the database does not answer.
            ConfigurationError: its driver is not installed, or the query or a column does not exist.
        """
        try:
            connection = self._open()
        except (SQLAlchemyError, OSError) as error:
            raise self._unreachable(error) from error
        with connection:
            try:
                yield connection
            except UNREADABLE as error:
                raise self._unreachable(error) from error

    def check_columns(self, connection: Connection) -> None:
        """Compare the columns that `params.yaml` names with those of the query.

        Raises:
            ConfigurationError: one is missing, or the database refuses the query.
        """
        name = self._source.name
        try:
            there = list(connection.execute(self._select(["*"]).where(text("1 = 0"))).keys())
        except DBAPIError as error:
            refuse_lost_connection(error)
            raise ConfigurationError(
                f"`query` of the source {name} must be one that the database takes, found: {self._reason(error)}; "
                "correct it in params.yaml"
            ) from error
        columns = self._source.columns
        missing = [column for column in (*columns.details, *columns.text) if column not in there]
        if missing:
            raise ConfigurationError(
                f"`columns` of the source {name} must be columns of its query, found no {', '.join(missing)} among "
                f"{', '.join(there)}; correct params.yaml"
            )

    def rows(self, connection: Connection, names: Sequence[str]) -> Iterator[Record]:
        """Yield these columns of all rows.

        Raises:
            DBAPIError, ValueError: a value can't be read; which one, `rows_of` tells.
        """
        options = {"stream_results": True, "yield_per": _ROWS_AT_ONCE}
        with connection.begin_nested(), connection.execute(self._select(names), execution_options=options) as result:
            for row in result.mappings():
                yield dict(row)

    def rows_of(
        self, connection: Connection, names: Sequence[str], keys: Sequence[Key]
    ) -> Iterator[tuple[Key, list[Record] | ParseError]]:
        """Yield the rows of each key, or why they can't be read; a batch that fails is halved until one key is left."""
        pending = [list(keys[begin : begin + _ROWS_AT_ONCE]) for begin in range(0, len(keys), _ROWS_AT_ONCE)]
        while pending:
            batch = pending.pop()
            try:
                yield from self._batch(connection, names, batch).items()
            except UNREADABLE as error:
                refuse_lost_connection(error)
                if len(batch) == 1:
                    yield batch[0], ParseError("damaged", f"the row must be readable, found: {self._reason(error)}")
                else:
                    middle = len(batch) // 2
                    pending += [batch[:middle], batch[middle:]]

    def _batch(self, connection: Connection, names: Sequence[str], keys: Sequence[Key]) -> dict[Key, list[Record]]:
        """The rows by key; in a savepoint, since PostgreSQL ends a transaction in which a statement fails."""
        key_column = self._source.columns.key
        statement = self._select(dict.fromkeys([key_column, *names])).where(column(key_column).in_(keys))
        by_text = {str(key): key for key in keys}
        rows: dict[Key, list[Record]] = {key: [] for key in keys}
        with connection.begin_nested():
            for row in connection.execute(statement).mappings():
                # MySQL compares texts without their case: a row of another key may be among them.
                key = by_text.get(str(row[key_column]))
                if key is not None:
                    rows[key].append(dict(row))
        return rows

    def _select(self, names: Sequence[str] | dict[str, None]) -> Select[Any]:
        columns: list[Any] = [text("*")] if list(names) == ["*"] else [column(name) for name in names]
        # A colon names no parameter here; the new line ends a comment.
        query = self._source.query.replace(":", "\\:")
        return select(*columns).select_from(text(f"({query}\n) AS source_rows"))

    def _open(self) -> Connection:
        engine = self._engine = self._engine or self._new_engine()
        name = engine.dialect.name
        connection = engine.connect()
        if name == "postgresql":
            return connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        if name in {"mysql", "mariadb"}:
            connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
            connection.commit()
        return connection

    def _new_engine(self) -> Engine:
        url = self._url()
        limits = {} if url.get_backend_name() == "sqlite" else {"connect_timeout": _CONNECT_SECONDS}
        try:
            engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=limits)
        except (ImportError, SQLAlchemyError) as error:
            raise ConfigurationError(
                f"the driver of {url.drivername} must be installed for the source {self._source.name}, found: {error}; "
                "pip install 'almanac-rag[postgresql]' or 'almanac-rag[mysql]'"
            ) from error
        if url.get_backend_name() == "sqlite":
            event.listen(engine, "connect", _read_leniently)
        return engine

    def _url(self) -> URL:
        url = make_url(self._source.url)
        if url.get_backend_name() == "sqlite":
            # Without `mode=ro` a missing file would become an empty database.
            return url.set(database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})
        driver = _DRIVERS.get(url.drivername, url.drivername)
        return url.set(drivername=driver, password=self._password) if self._password else url.set(drivername=driver)

    def _unreachable(self, error: Exception) -> DependencyError:
        return DependencyError(
            f"the source {self._source.name} must be readable at {self._source.url}, found: {self._reason(error)}; "
            "check the address, the network, and the password in the variable that `password_env` names"
        )

    def _reason(self, error: Exception) -> str:
        said = str(getattr(error, "orig", None) or error)
        said = said.replace(self._password, "***") if self._password else said
        return f"{type(error).__name__} {' '.join(said.split())[:300]}"


def _password(source: SqlSource) -> str | None:
    if source.password_env is None:
        return None
    if source.password_env not in os.environ:
        raise ConfigurationError(
            f"the variable {source.password_env} must hold the password of the source {source.name}, found none; set it"
        )
    return os.environ[source.password_env]


def _read_leniently(connection: Any, _record: object) -> None:
    """A text that is no UTF-8 must cost its row alone; SQLite's driver would end the whole listing."""
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")


def refuse_lost_connection(error: Exception) -> None:
    """Raise an error again that is the connection's and not a row's."""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or (isinstance(error, OperationalError | InterfaceError) and "locked" in str(error.orig)):
        raise error
