"""Reads e-mail addresses. Only their form is checked; no name server is asked.

In: the address as the channel gives it. Out: the normalised address, or nothing; and whether it is a marketplace's
mask. Never: a refused order. An address that cannot be read, or that belongs to no buyer (noreply@..., none@none.com,
as config/sites.yaml lists them), is left out with a warning. None and "" are "not given"."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from functools import lru_cache

import numpy as np
import pandas as pd
from email_validator import EmailNotValidError, validate_email

from crossdock.mapping import problems
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import Columns, rule
from crossdock.rules.order_context import OrderContext
from crossdock.rules.vectorize import TEXT, column, values_at

_PLAIN = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")
LENGTH = 254
LOCAL_LENGTH = 64  # of the part before the @, by RFC 5321


@lru_cache(maxsize=65_536)
def normalise(address: str) -> str | None:
    """The address as the library writes it, None if it is not an address. The library always checks the domain, and the
    local part only where it is not plain."""
    local, at, domain = address.rpartition("@")
    if not at or len(local) > LOCAL_LENGTH:
        return None
    if _PLAIN.fullmatch(local):
        existing = _domain(domain)
        whole = f"{local}@{existing}" if existing else None
    else:
        whole = _validated(address)
    return whole if whole and len(whole) <= LENGTH else None


@lru_cache(maxsize=16_384)
def _domain(domain: str) -> str | None:
    whole = _validated(f"a@{domain}")
    return whole.partition("@")[2] if whole else None


def _validated(address: str) -> str | None:
    try:
        return validate_email(address, check_deliverability=False).normalized
    except EmailNotValidError:
        return None


def is_relay(address: str, domains: Collection[str]) -> bool:
    """Whether the address belongs to a masking domain or a subdomain of one; `marketplace.amazon.*` is that domain with
    any country's ending."""
    domain = "." + address.rpartition("@")[2].lower()
    return any(f".{d[:-1]}" in domain if d.endswith(".*") else domain.endswith(f".{d}") for d in domains)


def is_nobodys(address: str, patterns: Collection[str]) -> bool:
    """Whether an address is a placeholder for a buyer who has given none."""
    plain = address.casefold()
    return any(fnmatchcase(plain, pattern) for pattern in patterns)


@rule("email", reads=["CustomerInfo.Email"], writes=["Customer.Email"])
def read(frames: Frames, context: OrderContext) -> Columns:
    """The buyer's e-mail address in its normalised form. One that cannot be read, or is a placeholder, is left out with
    a warning."""
    field, nobodys = "CustomerInfo.Email", context.settings.nobodys_mail
    addresses = column(frames.header, field)
    codes, different = pd.factorize(addresses)
    found = [normalise(v) if v else None for v in different.tolist()]
    found = [None if v and is_nobodys(v, nobodys) else v for v in found]
    unread = np.array([bool(v) and got is None for v, got in zip(different.tolist(), found, strict=True)] + [False])
    rows = np.flatnonzero(unread[codes])
    warnings = problems.make(
        rows,
        field=field,
        rule="email_unreadable",
        value=values_at(addresses, rows),
        message=f"{field} is no e-mail address of anybody; the customer is kept without it.",
        do="Nothing; add the address to the customer in TIMS if you know it.",
    )
    normal = pd.Series(pd.array(found, dtype=TEXT).take(codes, allow_fill=True), index=addresses.index)
    return Columns(pd.DataFrame({"Customer.Email": normal}), warnings=warnings)
