"""The receiver of events: the one part of Crossdock that other machines reach.

In: an address to listen on. Out: a server until Ctrl-C. Never: Airflow, a flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from crossdock.cli import context
from crossdock.cli.output import out
from crossdock.receiver.sources import PORT, OpenSource

app = typer.Typer()


@app.command("receive")
def receive(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = PORT,
) -> None:
    """Take the systems' events until Ctrl-C: prove each, write it down, answer. Needs the signing secrets."""
    from crossdock.receiver.serve import serve

    serve(context.database_url(), host, port, _ready)


def _ready(address: str, sources: Sequence[OpenSource]) -> None:
    for source in sources:
        out.print(f"{source.name}: {address}{source.rules.path}", soft_wrap=True)
    out.file.flush()
