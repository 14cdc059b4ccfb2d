"""A database says its format in SQLite's `user_version`, which is 0 where nothing was written yet."""

import sqlite3


def refuse_other_formats(database: sqlite3.Connection, expected: int) -> None:
    """Raise where a database has another format; nothing is written, as its writer may come back.

    Raises:
        sqlite3.Error: it has, or is none.
    """
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found not in (0, expected):
        raise sqlite3.DatabaseError(f"expected format {expected}, found {found}")
