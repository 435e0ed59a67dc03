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
    """Hold every mapping and checks file, the posting table and its accounts against the contracts; read the rest."""
    from crossdock.mapping import language
    from crossdock.rules import catalogue, offer_settings, posting_table, price_settings, tax_rules
    from crossdock.steps import suites

    catalogue.load()
    tables = [language.mappings_folder() / f"{name}.yaml" for name in language.names()]
    checks = [suites.folder_of_checks() / f"{name}.yaml" for name in suites.names()]
    findings = [str(finding) for path in tables for finding in language.read(path).check()]
    findings += [str(finding) for path in checks for finding in suites.check(path)]
    findings += [
        str(one) for part in (posting_table, price_settings, offer_settings, tax_rules) for one in part.check()
    ]
    if as_json:
        print_json(findings)
    elif findings:
        for finding in findings:
            err.print(safe(finding), soft_wrap=True)
    else:
        out.print(
            f"{len(tables)} mappings, {len(checks)} checks files, the posting table and the prices fit the contracts."
        )
    if findings:
        raise typer.Exit(2)
