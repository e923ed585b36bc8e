"""The verbs about the web console: serve it, and say who may enter."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common import console as terminal
from common.errors import StudyError

if TYPE_CHECKING:
    from server.console.accounts import Role

PROGRAM = "gliofed-server"
ConsortiumArgument = Annotated[Path, typer.Argument(show_default=False, help="The consortium's folder.")]
NameArgument = Annotated[str, typer.Argument(show_default=False, help="The account's name.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog=terminal.epilog(f"{PROGRAM} console ./consortium"))(console)
    account = typer.Typer(
        help="Say who may open the console: add, list, remove.",
        epilog=terminal.epilog(f"{PROGRAM} account add ./consortium maria --role operator"),
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    account.command(epilog=terminal.epilog(f"{PROGRAM} account add ./consortium maria --role operator"))(add)
    account.command(epilog=terminal.epilog(f"{PROGRAM} account remove ./consortium maria"))(remove)
    account.command("list", epilog=terminal.epilog(f"{PROGRAM} account list ./consortium"))(list_accounts)
    app.add_typer(account, name="account")


def console(
    consortium: ConsortiumArgument,
    host: Annotated[str, typer.Option(help="Where to listen; any but loopback needs a certificate.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, show_default=False, help="Default: consortium.toml's, 8080.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(show_default=False, help="Certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(show_default=False, help="Its private key, PEM.")] = None,
    mlflow: Annotated[
        str | None, typer.Option(show_default=False, help="Where a browser reaches MLflow; default: on this machine.")
    ] = None,
    grafana: Annotated[str | None, typer.Option(show_default=False, help="Where a browser reaches Grafana.")] = None,
) -> None:
    """Serve the web console until it is ended: sites, runs, releases, and for operators pause, resume, stop.

    It listens on 127.0.0.1; reach it through `ssh -L 8080:127.0.0.1:8080 SERVER`. Nothing in it comes from another
    machine.
    """
    from common.logs import configure
    from server.console.accounts import load_accounts
    from server.console.app import make_app
    from server.console.desk import Desk, Links, accounts_file
    from server.console.serving import check_link, check_listening, hosts_of, server_of
    from server.consortium.folder import Consortium
    from server.facts import superlink_fleet

    os.umask(0o077)  # what it keeps is its own user's to read
    opened = Consortium.open(consortium)
    check_listening(host, certificate, key)
    settings = opened.settings
    links = Links(
        check_link("mlflow", mlflow) or f"http://127.0.0.1:{settings.ports.mlflow}", check_link("grafana", grafana)
    )
    if not load_accounts(accounts_file(opened)):
        raise StudyError(
            f"{opened.folder}: nobody may enter the console yet; "
            f"`{PROGRAM} account add {consortium} NAME --role operator`"
        )
    configure()
    desk = Desk(opened, secure=certificate is not None, links=links, fleet=superlink_fleet(opened))
    app = make_app(desk, hosts_of(host, settings.hosts))
    chosen = port or settings.ports.console
    terminal.print_line(f"console of {settings.name}: {'https' if certificate else 'http'}://{host}:{chosen}")
    server_of(app, host, chosen, certificate, key).run()


def add(
    consortium: ConsortiumArgument,
    name: NameArgument,
    role: Annotated[str, typer.Option(help="viewer looks; operator pauses, resumes and stops runs too.")] = "viewer",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin, one line, instead of asking twice.")
    ] = False,
) -> None:
    """Add an account, or give one that is there another role and password; its open sessions end.

    The password is asked twice, at least 12 characters.
    """
    from server.console.accounts import load_accounts, make_account, save_accounts
    from server.console.desk import accounts_file
    from server.console.passwords import hash_password
    from server.consortium.alone import alone
    from server.consortium.folder import Consortium

    opened, chosen = Consortium.open(consortium), _role(role)
    password = (
        sys.stdin.readline().rstrip("\r\n")
        if password_stdin
        else typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    )
    account = make_account(name, chosen, hash_password(password, name))
    path = accounts_file(opened)
    with alone(opened):
        known = load_accounts(path)
        save_accounts(path, [*(each for each in known.values() if each.name != name), account])
    terminal.print_line(f"{name}: {chosen}, {'changed' if name in known else 'added'}")


def remove(consortium: ConsortiumArgument, name: NameArgument) -> None:
    """Remove an account; whoever is logged in with it is out at once."""
    from server.console.accounts import load_accounts, save_accounts
    from server.console.desk import accounts_file
    from server.consortium.alone import alone
    from server.consortium.folder import Consortium

    opened = Consortium.open(consortium)
    path = accounts_file(opened)
    with alone(opened):
        known = load_accounts(path)
        if name not in known:
            raise StudyError(f"{name}: no such account; there are {', '.join(sorted(known)) or 'none'}")
        save_accounts(path, [each for each in known.values() if each.name != name])
    terminal.print_line(f"{name}: removed")


def list_accounts(
    consortium: ConsortiumArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """List the accounts with their roles. Changes nothing."""
    from server.console.accounts import load_accounts
    from server.console.desk import accounts_file
    from server.consortium.folder import Consortium

    known = load_accounts(accounts_file(Consortium.open(consortium)))
    if as_json:
        terminal.print_json([{"name": account.name, "role": account.role.value} for account in known.values()])
        return
    rows = [(account.name, account.role.value) for account in known.values()]
    terminal.print_table(terminal.count(len(rows), "account"), ["name", "role"], rows)


def _role(role: str) -> Role:
    from server.console.accounts import Role

    try:
        return Role(role)
    except ValueError:
        raise StudyError(f"--role {role}: give viewer or operator") from None
