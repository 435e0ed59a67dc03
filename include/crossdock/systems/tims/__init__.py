"""TIMS: its client, which gives out and takes the documents of our contract whatever an installation calls them."""

from crossdock.systems.tims.client import Operation, Result, Tims

__all__ = ["Operation", "Result", "Tims"]
