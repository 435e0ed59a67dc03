"""Reads the library's larger SQL statements from `.sql` files, which stand beside the modules that use them.

In: a package and the name of a file in it. Out: the statement, with parameters by name (`:name`).
Never: a value in the text of a statement.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import sqlalchemy as sa


@cache
def statement(package: str, name: str) -> sa.TextClause:
    """The statement in `name`.sql of `package` (a module passes its `__package__`)."""
    return sa.text(resources.files(package).joinpath(f"{name}.sql").read_text("utf-8"))
