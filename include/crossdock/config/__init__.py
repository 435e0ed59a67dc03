"""Configuration that people edit, read in one way: a file, its type, and everything that is wrong with it at once."""

from crossdock.config.nodes import Finding, refusal
from crossdock.config.structs import (
    Currency,
    File,
    Percent,
    Place,
    Scalar,
    SiteID,
    Struct,
    Text,
    Written,
    describe,
    load,
    read,
)
from crossdock.config.suggest import did_you_mean, ended, nearest
from crossdock.config.tables import BESIDE, Day, SiteCell, Table, load_csv, read_csv

__all__ = [
    "BESIDE",
    "Currency",
    "Day",
    "File",
    "Finding",
    "Percent",
    "Place",
    "Scalar",
    "SiteCell",
    "SiteID",
    "Struct",
    "Table",
    "Text",
    "Written",
    "describe",
    "did_you_mean",
    "ended",
    "load",
    "load_csv",
    "nearest",
    "read",
    "read_csv",
    "refusal",
]
