"""What goes back once the target has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossdock.flow import Flow

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


def confirm(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Nobody waits for word: the settlement is in our own books."""
