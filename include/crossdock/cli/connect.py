"""`crossdock connect`: the connections of both systems, tried step by step, and made where there are none yet.

In: options, the environment, answers on a terminal. Out: a line for each check; an Airflow connection. Exit code 0: all
is right; 1: something is red; 2: it could not be tried. Never: a secret on the command line, echoed, or printed unless
`--print` asks for it; a request that changes something.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.text import Text

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import err, out, print_json, writing
from crossdock.errors import ConfigError
from crossdock.safe import safe
from crossdock.services import connect as checks
from crossdock.services import gates
from crossdock.services.connect import Check, Found
from crossdock.systems import limits as system_limits
from crossdock.systems.authorize import Consent
from crossdock.systems.connections import Connection, parse, variable
from crossdock.systems.connections import as_json as connection_json
from crossdock.systems.failures import NAMES
from crossdock.systems.redaction import MASK

app = typer.Typer()
SECRET, REFRESH_TOKEN = "CROSSDOCK_CONNECT_SECRET", "CROSSDOCK_CONNECT_REFRESH_TOKEN"
HOSTS = {"channel_advisor": "https://api.channeladvisor.com", "tims": ""}
COLOURS = {"ok": "green", "red": "bold red", "skipped": "dim"}
WHERE = {
    "channel_advisor": (
        "Channel Advisor: you need the application of the developer console (https://developer.channeladvisor.com).\n"
        "  application id, shared secret   Applications > the application. Only its owner sees the secret.\n"
        "  scopes                          orders and inventory, not their readonly forms.\n"
        "  refresh token                   Authorizations > Add, by an administrator of the account; or --browser.\n"
        "                                  It opens the accounts (profiles) that were ticked, and dies after 3 months\n"
        "                                  without use."
    ),
    "tims": (
        "TIMS: its administrator gives you the address of the API, and makes a client (integration) with its id and\n"
        "  secret. It needs the scopes to read and write customers, orders, shipments, stock, receivables and the\n"
        "  ledger, and to read items. What is named otherwise there goes into include/config/tims.yaml."
    ),
}


@app.command("connect")
def connect_command(
    system: Annotated[str | None, typer.Argument(help="channel_advisor or tims; absent: both.")] = None,
    new: Annotated[bool, typer.Option(help="Make a new connection, even where the environment has one.")] = False,
    api: Annotated[str | None, typer.Option(help="API of Channel Advisor, v1 or v2; absent: found by asking.")] = None,
    host: Annotated[str | None, typer.Option(help="Base URL of the API.")] = None,
    login: Annotated[str | None, typer.Option(help="Application id, or client id.")] = None,
    profile: Annotated[list[int] | None, typer.Option(help="Profile to work with; repeat for several.")] = None,
    ca_bundle: Annotated[
        Path | None, typer.Option(help="Certificates of a private authority that signs the host's.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Get the refresh token by consent in a browser.")] = False,
    redirect: Annotated[
        str | None, typer.Option(help="With --browser: the redirect address that the application's settings name.")
    ] = None,
    port: Annotated[int, typer.Option(help="With --browser: port of 127.0.0.1 to come back to; 0: a free one.")] = 0,
    show: Annotated[bool, typer.Option("--print", help="Print the connection with its secrets.")] = False,
    file: Annotated[
        Path | None, typer.Option(help="Write the connection into this file, readable by you alone.")
    ] = None,
    airflow: Annotated[bool, typer.Option("--airflow", help="Keep the connection in Airflow (its database).")] = False,
    as_json: AsJson = False,
) -> None:
    """Try the connections to both systems step by step, and make them where there are none. Nothing is changed at
    either system. Secrets are asked for on the terminal, or read from CROSSDOCK_CONNECT_SECRET and
    CROSSDOCK_CONNECT_REFRESH_TOKEN."""
    if system is not None:
        context.one_of(system, tuple(checks.SYSTEMS), "The system")
    made_by_options = any((new, host, login, browser))
    if made_by_options and system is None:
        raise ConfigError("These options are of one system.", do="Name it: `crossdock connect channel_advisor ...`.")
    names, reported = [system] if system else list(checks.SYSTEMS), []
    with context.database_if_any() as engine:
        asks = made_by_options or (sys.stdin.isatty() and not as_json)
        missing = [name for name in names if not asks and not os.environ.get(variable(name), "").strip()]
        for name in (one for one in names if one not in missing):
            given = {"api": api, "profile_id": profile, "ca_bundle": ca_bundle and str(ca_bundle)}
            make = made_by_options or not os.environ.get(variable(name), "").strip()
            connection = _connection(name, make, host, login, given, browser, as_json)
            if browser or (sys.stdin.isatty() and not as_json and _lacks_refresh_token(connection)):
                connection = _by_browser(connection, redirect, port, as_json)
            found = Found()
            results = _try(connection, found, as_json)
            connection, results = _choose_profile(connection, found, results, as_json)
            if found.refresh_token:
                connection = replace(connection, extra=connection.extra | {"refresh_token": found.refresh_token})
            if engine is not None:
                with engine.begin() as database:
                    gates.keep(database, gates.CONNECT, name, context.who(), [asdict(one) for one in results])
            reported.append(_report(connection, found, results, engine is not None))
            if not as_json:
                out.print(_summary(results, engine is not None), soft_wrap=True)
            leave(connection, found, make, show, file, airflow, as_json)
    if as_json:
        print_json(reported)
    _print_missing(missing)
    if missing or any(one["red"] for one in reported):
        raise typer.Exit(2 if missing else 1)


def _print_missing(names: Sequence[str]) -> None:
    """Says which systems could not be tried, and what to do."""
    for name in names:
        err.print(
            f"{NAMES[name]} was not tried: {variable(name)} is not set in the environment.\n"
            f"Make the connection on a terminal, by `crossdock connect {name} --new`; without a terminal by --host and "
            f"--login, with the secret in {SECRET}. One that Airflow keeps is not seen here: set the variable too.",
            soft_wrap=True,
        )


def _try(connection: Connection, found: Found, as_json: bool) -> list[Check]:
    """Tries a connection; each check is printed as it ends."""
    if not as_json:
        out.print(Text(f"{NAMES[connection.name]} at {safe(connection.host)}", "bold"))
    results = []
    for one in checks.check(connection, found):
        results.append(one)
        if not as_json:
            _print(one)
    return results


def _report(connection: Connection, found: Found, results: Sequence[Check], kept: bool) -> dict[str, Any]:
    return {
        "system": connection.name,
        "host": connection.host,
        "api": found.api or None,
        "profiles": [one.id for one in found.profiles],
        "red": sum(one.state == "red" for one in results),
        "kept": kept,
        "checks": [asdict(one) for one in results],
    }


def _print(one: Check) -> None:
    out.print(Text.assemble((f"{one.state:<8}", COLOURS[one.state]), f"{one.title}: {one.found}"), soft_wrap=True)
    if one.state == "red":
        for label, text in (("means", one.means), ("do", one.do), ("where", one.where)):
            if text:
                out.print(Text.assemble((f"          {label:<7}", "dim"), text), soft_wrap=True)


def _summary(results: Sequence[Check], kept: bool) -> str:
    states = [one.state for one in results]
    red, skipped = states.count("red"), states.count("skipped")
    words = f"{red} of {len(results)} checks are red." if red else f"All {len(results) - skipped} checks are right."
    words += f" Not tried: {skipped}." if skipped else ""
    return words if kept else f"{words} The result is not kept: there is no database yet (`crossdock db migrate`)."


# ---- what it needs ---------------------------------------------------------------------------------------------------


def _connection(
    name: str, make: bool, host: str | None, login: str | None, given: Mapping[str, Any], browser: bool, as_json: bool
) -> Connection:
    """The connection of the environment, or one made of options, the environment and answers. Raises ConfigError."""
    extra = {key: _one(value) for key, value in given.items() if value}
    if not make:
        existing = parse(name, os.environ[variable(name)])
        return replace(existing, extra=existing.extra | extra)
    terminal = sys.stdin.isatty() and not as_json
    if terminal:
        out.print(WHERE[name])
    url = host or _ask("Base URL", HOSTS[name], terminal, "--host")
    client = login or _ask("Client id" if name == "tims" else "Application id", "", terminal, "--login")
    secret = _ask_secret("Secret", SECRET, terminal)
    if name == "channel_advisor" and not browser:
        token = os.environ.get(REFRESH_TOKEN, "")
        if not token and terminal:
            token = typer.prompt("Refresh token (empty: by browser)", default="", show_default=False, hide_input=True)
        extra |= {"refresh_token": token} if token else {}
    return parse(
        name, json.dumps({"conn_type": name, "host": url, "login": client, "password": secret, "extra": extra})
    )


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _ask(title: str, default: str, terminal: bool, option: str) -> str:
    if terminal:
        return str(typer.prompt(title, default=default or None))
    if default:
        return default
    raise ConfigError(f"{title} is missing.", do=f"Give it by {option}, or run the command on a terminal.")


def _ask_secret(title: str, name: str, terminal: bool) -> str:
    if given := os.environ.get(name, ""):
        return given
    if terminal:
        return str(typer.prompt(title, hide_input=True))
    raise ConfigError(f"{title} is missing.", do=f"Set {name} in the environment, or run the command on a terminal.")


def _lacks_refresh_token(connection: Connection) -> bool:
    return connection.name == "channel_advisor" and not connection.extra.get("refresh_token")


def _by_browser(connection: Connection, redirect: str | None, port: int, as_json: bool) -> Connection:
    """The connection with a refresh token that a person has agreed to in a browser."""
    if connection.name != "channel_advisor":
        raise ConfigError("--browser is for Channel Advisor.", do="TIMS gives a client id and a secret.")
    talk = err if as_json else out
    with Consent(connection, redirect, port) as consent:
        talk.print("Open this address and let the account's administrator agree:", soft_wrap=True)
        talk.print(Text(consent.address), soft_wrap=True)
        if redirect:
            while not consent.take(str(typer.prompt("The address on which the browser ended", hide_input=True))):
                talk.print("That is not the answer to this question: copy the whole address, with its state.")
        else:
            if not webbrowser.open(consent.address):
                back = urlsplit(consent.redirect).port
                talk.print(
                    f"No browser opens here. One on another machine comes back by `ssh -L {back}:127.0.0.1:{back}` to "
                    "this one; or give --redirect with an https address of the application's settings.",
                    soft_wrap=True,
                )
            consent.wait()
        token = consent.refresh_token(system_limits.of(connection))
    return replace(connection, extra=connection.extra | {"refresh_token": token})


def _choose_profile(
    connection: Connection, found: Found, results: list[Check], as_json: bool
) -> tuple[Connection, list[Check]]:
    """Asks which profile is meant, where there are several and a person to ask; then tries that one."""
    open_ = any(one.name == "profiles" and one.state == "red" for one in results)
    if not open_ or len(found.profiles) < 2 or not sys.stdin.isatty() or as_json:
        return connection, results
    listing = ", ".join(f"{one.id} {one.name}".strip() for one in found.profiles)
    answer = str(typer.prompt(f"Which profile ({safe(listing)}; several with spaces; empty: decide later)", default=""))
    chosen = [int(word) for word in answer.replace(",", " ").split() if word.isdecimal()]
    if not chosen:
        return connection, results
    connection = replace(connection, extra=connection.extra | {"profile_id": _one(chosen)})
    results = list(checks.check(connection, found))
    for one in results:
        if one.name == "profiles":
            _print(one)
    return connection, results


# ---- what it leaves --------------------------------------------------------------------------------------------------


def leave(
    connection: Connection, found: Found, is_new: bool, show: bool, file: Path | None, airflow: bool, as_json: bool
) -> None:
    """Leaves the connection where the options say; a new one that goes nowhere is at least shown, masked."""
    if found.api and connection.name == "channel_advisor":
        connection = replace(connection, extra=connection.extra | {"api": found.api})
    talk = err if as_json else out
    if file:
        _write(file, f"{connection.variable}='{_quotable(connection_json(connection))}'\n")
        talk.print(
            f"Written to {safe(file)}, which you alone can read. A shell takes it by `set -a; . {safe(file)}; set +a`.",
            soft_wrap=True,
        )
    if airflow:
        _keep_in_airflow(connection)
        talk.print(f"Airflow has the connection {connection.name}.")
    if show:
        (sys.stderr if as_json else sys.stdout).write(f"{connection.variable}={connection_json(connection)}\n")
    elif is_new and not file and not airflow:
        talk.print(Text(f"{connection.variable}={connection_json(_masked(connection))}"), soft_wrap=True)
        talk.print(
            "That is the connection without its secrets. --print shows them (for a secrets backend), --file writes "
            "them into a file that you alone can read, --airflow keeps them in Airflow.",
            soft_wrap=True,
        )


def _quotable(text: str) -> str:
    """JSON without an apostrophe, to stand between two: so that shells and env files take every sign as it is."""
    return text.replace("'", "\\u0027")


def _masked(connection: Connection) -> Connection:
    hidden = {name: MASK for name in connection.extra if "token" in name or "secret" in name or "key" in name}
    return replace(connection, secret=MASK, extra=connection.extra | hidden)


def _write(file: Path, text: str) -> None:
    """A file that was never readable by others, not even for a moment."""
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
            opened.write(text)
        draft.replace(file)


def _keep_in_airflow(connection: Connection) -> None:
    """By Airflow's own command, and by a file: a secret among its words could be read by every user of the machine."""
    program = shutil.which("airflow", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        raise ConfigError("There is no command `airflow` here.", do="Use --file or --print.")
    with tempfile.TemporaryDirectory() as folder:  # mode 700
        file = Path(folder) / "connection.json"
        _write(file, json.dumps({connection.name: json.loads(connection_json(connection))}))
        done = subprocess.run(  # noqa: S603 our own words
            [program, "connections", "import", str(file), "--overwrite"], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise ConfigError(
            f"Airflow did not take the connection (exit code {done.returncode}).",
            do="See whether `airflow connections list` works here; else use --file or --print.",
        )
