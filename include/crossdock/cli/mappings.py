"""The mapping files, held against the contracts.

In: what an analyst edits. Out: findings with file and line. Never: a record.
"""

from __future__ import annotations

import typer

from crossdock.cli.context import AsJson
from crossdock.cli.output import err, out, print_json
from crossdock.safe import safe

app = typer.Typer(no_args_is_help=True, help="The mapping files.")


@app.command("check")
def check_mappings(as_json: AsJson = False) -> None:
    """Look at every configuration file: the mappings and checks against the contracts, and all others."""
    from crossdock.mapping import language
    from crossdock.steps import suites
    from crossdock.watch import configuration

    findings = configuration.check()
    if as_json:
        print_json(findings)
    elif findings:
        for finding in findings:
            err.print(safe(finding), soft_wrap=True)
    else:
        out.print(
            f"{len(language.names())} mappings, {len(suites.names())} checks files, the posting table, the prices and "
            "all other settings are right."
        )
    if findings:
        raise typer.Exit(2)
