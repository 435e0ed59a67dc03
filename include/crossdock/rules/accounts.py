"""Accounts by name: config/accounts.yaml, and whether TIMS's chart has them.

In: the file; names of the posting table with the channel and currency of a line. Out: codes. Never: a code that the
file does not give.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pandas as pd
import yaml

from crossdock.config.nodes import Finding, Reader, line_of
from crossdock.config.suggest import did_you_mean
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
    """The file as read, with everything that is wrong with it."""

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


def load(folder: Path | None = None) -> Accounts:
    """The accounts, read again only when the file has changed. Raises ConfigError with the first finding."""
    path = path_of(folder)
    if not path.exists():
        raise ConfigError(f"{path} is missing.", do="Restore it: the posting table speaks of accounts by name.")
    accounts = _load(path, path.stat().st_mtime_ns)
    if accounts.findings:
        raise ConfigError(
            f"{accounts.findings[0]}.", do="Correct the file; `crossdock mapping check` lists everything."
        )
    return accounts


def path_of(folder: Path | None = None) -> Path:
    return (folder or config_dir()) / "accounts.yaml"


@lru_cache(maxsize=8)
def _load(path: Path, _changed: int) -> Accounts:
    return read(path)


def read(path: Path) -> Accounts:
    """The file as written, with everything that is wrong with it in `findings`. Raises ConfigError for no YAML."""
    return _AccountsReader(path).accounts()


class _AccountsReader(Reader):
    def accounts(self) -> Accounts:
        named = {
            key.value: Account(key.value, self.codes(key.value, node), line_of(key))
            for key, node in self.pairs(self.root(), "the file")
        }
        return Accounts(self.path, named, tuple(self.findings))

    def codes(self, name: str, node: yaml.Node) -> dict[tuple[str, str], str]:
        if isinstance(node, yaml.ScalarNode):
            return {(ANY, ANY): self.code(node)}
        codes: dict[tuple[str, str], str] = {}
        for key, value in self.pairs(node, f"{name}"):
            channel = ANY if key.value == DEFAULT else key.value
            if isinstance(value, yaml.ScalarNode):
                codes[channel, ANY] = self.code(value)
                continue
            for currency, code in self.pairs(value, f"{name} of {key.value}"):
                codes[channel, currency.value] = self.code(code)
        if (ANY, ANY) not in codes:
            near = did_you_mean(DEFAULT, [key.value for key, _ in self.pairs(node, name)])
            self.report(node, f"{name} has no `{DEFAULT}`, the code of all other channels{near}")
            codes[ANY, ANY] = ""
        return codes

    def code(self, node: yaml.Node) -> str:
        text = self.text(node)
        if not text or len(text) > 20 or not all(one.isdigit() or one.isupper() or one in ".-" for one in text):
            self.report(node, f"{text!r} is no account code: up to 20 digits, capital letters, points and hyphens")
        return text
