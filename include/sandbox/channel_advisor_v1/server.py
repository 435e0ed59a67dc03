"""Channel Advisor in both dialects over one state: the facade (`/v2/`) and REST v1 (`/v1/`).

In: requests of either dialect. Out: answers of the same world. Never: a second state.

The token endpoint takes codes and clients that prove themselves in the form, and tells when a refresh token was revoked
or not used for three months.

Controls of its own:

| call | does |
|---|---|
| GET, PUT dialects {"serve": ["v1"]} | turns the other dialect off; a reset leaves it so |
| GET, PUT v1 {"past_end": "first"} | how the live service is taken where that is not certain (`face.SETTINGS`) |
| POST revoke {"refresh_token": ...} | the seller takes a consent back |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.channel_advisor import repository
from sandbox.channel_advisor import server as facade
from sandbox.channel_advisor_v1 import adjustments, batch, exports, metadata, oauth, orders, products, uploads
from sandbox.channel_advisor_v1.face import Face
from sandbox.channel_advisor_v1.jobs import Jobs
from sandbox.channel_advisor_v1.nodes import TERMS
from sandbox.kernel.http import Answer

DIALECTS = ("v1", "v2")


class ChannelAdvisor(facade.ChannelAdvisor):
    """The facade's server with the face of REST v1."""

    terms = repository.TERMS | TERMS

    def __init__(
        self,
        folder: Path,
        *,
        per_minute: int | None = None,
        at_once: int | None = None,
        dialects: tuple[str, ...] = DIALECTS,
    ) -> None:
        super().__init__(folder, per_minute=per_minute, at_once=at_once)
        self.dialects = frozenset(dialects)
        self.v1 = Face(self)
        for module in (orders, adjustments, products, batch, metadata):
            module.add(self.v1)
        jobs = Jobs(self.v1)
        exports.add(self.v1, jobs)
        uploads.add(self.v1, jobs)
        self.consents = oauth.Consents(self)
        oauth.add(self.v1, self.consents)
        self.faces = [self.v1]

    def is_closed(self, raw_path: str) -> bool:
        dialect = raw_path.split("/")[1]
        return dialect in DIALECTS and dialect not in self.dialects

    def controls(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "GET dialects": lambda _: {"serve": sorted(self.dialects)},
            "PUT dialects": self._serve,
            "GET v1": lambda _: self.v1.settings,
            "PUT v1": self.v1.set,
            "POST revoke": self.consents.revoke,
        }

    def token(self, authorization: str, form: dict[str, str]) -> Answer:
        """Both dialects have one token endpoint; the live one takes more than the contract says."""
        return self.consents.token(authorization, form) or super().token(authorization, form)

    def _serve(self, sent: dict[str, Any]) -> dict[str, Any]:
        wanted = sent["serve"]
        if not wanted or not set(wanted) <= set(DIALECTS):
            raise ValueError(f"Serve one or both of {', '.join(DIALECTS)}.")
        self.dialects = frozenset(wanted)
        return {"serve": sorted(self.dialects)}

    def forget(self) -> None:
        super().forget()
        self.v1.forget()

    def moved(self) -> None:
        super().moved()
        self.v1.memory.numbers.clear()
