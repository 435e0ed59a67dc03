"""The API v1 of Channel Advisor: OData, as real accounts have it.

In: a connection. Out: `V1`, a client that gives and takes the contract's documents.
Never: a document of v1 outside this room.
"""

from __future__ import annotations

from crossdock.systems.channel_advisor.v1.webhooks import Webhooks
from crossdock.systems.channel_advisor.v1.writing import Writing

__all__ = ["V1"]


class V1(Writing, Webhooks):
    """A client of `/v1`; what each call does is in `protocol.ChannelAdvisor`."""
