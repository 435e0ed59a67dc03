"""Configuration that people edit, read in one way: a file, its type, and everything that is wrong with it at once."""

from crossdock.config.nodes import Finding, Reader, Stamp, line_of, refusal, stamp
from crossdock.config.structs import Currency, File, Place, SiteID, Struct, Text, Written, describe, load, read
from crossdock.config.suggest import did_you_mean, nearest

__all__ = [
    "Currency",
    "File",
    "Finding",
    "Place",
    "Reader",
    "SiteID",
    "Stamp",
    "Struct",
    "Text",
    "Written",
    "describe",
    "did_you_mean",
    "line_of",
    "load",
    "nearest",
    "read",
    "refusal",
    "stamp",
]
