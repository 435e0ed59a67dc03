"""Finds the account of a name by config/accounts.yaml, and checks that TIMS's chart has it.

In: the file; names of the posting table with the channel and currency of a line. Out: codes. Never: a code that the
file does not give.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from msgspec import Meta

from crossdock import config
from crossdock.config import Finding, Text, nearest
from crossdock.errors import ConfigError
from crossdock.settings import config_dir

DEFAULT = "default"
ANY = ""  # channel or currency that stands for all others


@dataclass(frozen=True)
class Account:
    """One name. `codes`: (channel, currency) -> code, ANY for all others."""

    name: str
    codes: Mapping[tuple[str, str], str]
    line: int

    def code(self, channel: str, currency: str) -> str:
        """The code of a line: of its channel and currency, else of its channel, else the default."""
        return next(self.codes[key] for key in ((channel, currency), (channel, ANY), (ANY, ANY)) if key in self.codes)


@dataclass(frozen=True)
class Accounts:
    """The file as read, with all its errors."""

    file: Path
    named: Mapping[str, Account] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def codes_of(self, name: str) -> set[str]:
        """Every code that `name` may take."""
        return set(self.named[name].codes.values())

    def codes(self, names: pd.Series, channels: pd.Series, currencies: pd.Series) -> pd.Series:
        """The code of each line."""
        wanted = pd.DataFrame({"n": names.array, "c": channels.fillna(ANY).array, "m": currencies.array})
        numbers, distinct = pd.factorize(pd.MultiIndex.from_frame(wanted))
        found = [self.named[name].code(channel, currency) for name, channel, currency in distinct]
        return pd.Series(pd.array(found, dtype="str").take(numbers), index=names.index, dtype="str")

    def hold_against(self, chart: Collection[str]) -> None:
        """Raises ConfigError, with file and line, where TIMS's chart of accounts lacks a code."""
        for account in self.named.values():
            for code in account.codes.values():
                if code not in chart:
                    raise ConfigError(
                        f"{self.file}:{account.line}: {account.name} is account {code}, which TIMS's chart of accounts "
                        "does not have.",
                        do="Correct the code, or have the account set up in TIMS. Nothing was posted.",
                    )


Code = Annotated[
    str,
    Meta(
        pattern="^[0-9A-Z.-]{1,20}$",
        description="an account code: up to 20 digits, capital letters, points and hyphens",
        extra={"as_written": True},
    ),
]  # fmt: skip
Codes = dict[Text, Code | dict[Text, Code]]  # by channel, and there by currency


def load(folder: Path | None = None) -> Accounts:
    """The accounts, read again only when the file has changed. Raises ConfigError with all errors."""
    accounts = read(path_of(folder))
    if accounts.findings:
        raise config.refusal(accounts.findings)
    return accounts


def path_of(folder: Path | None = None) -> Path:
    return (folder or config_dir()) / "accounts.yaml"


def read(path: Path) -> Accounts:
    """The file as written, with all its errors in `findings`. Raises ConfigError where it is not YAML."""
    return _made(config.read(path, dict[Text, Code | Codes]))


@lru_cache(maxsize=8)
def _made(file: config.File[dict[str, Any]]) -> Accounts:
    named: dict[str, Account] = {}
    found = list(file.findings)
    for name, given in (file.value or {}).items():
        codes: dict[tuple[str, str], str] = {}
        for channel, code in given.items() if isinstance(given, dict) else [(DEFAULT, given)]:
            held = ANY if channel == DEFAULT else channel
            codes |= {(held, key): one for key, one in code.items()} if isinstance(code, dict) else {(held, ANY): code}
        if (ANY, ANY) not in codes:
            if not file.has(name, DEFAULT):
                wrong = nearest(DEFAULT, [channel for channel, _ in codes])
                hint = f"; is it meant by {wrong!r}?" if wrong else ""
                place: config.Place = (name, wrong) if wrong else (name,)
                found.append(file.finding(place, f"{name} has no `{DEFAULT}`, the code of all other channels{hint}"))
            codes[ANY, ANY] = ""
        named[name] = Account(name, codes, file.line(name))
    for written, line in file.lines.items():  # a name with wrong codes still counts as defined
        if len(written) == 1 and written[0] not in named:
            named[str(written[0])] = Account(str(written[0]), {(ANY, ANY): ""}, line)
    return Accounts(file.path, named, tuple(sorted(found, key=lambda one: one.line)))


# What the files hold, for whoever shows them as forms: (type, columns of the key).
FORMS: dict[str, tuple[Any, int]] = {"accounts.yaml": (dict[Text, Code | Codes], 0)}
