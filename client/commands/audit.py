"""The verbs of the audit log: `audit verify`, `audit show`, `audit export`. None of them changes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common import console

if TYPE_CHECKING:
    from client.privacy.audit_entry import Entry

PROGRAM = "gliofed-client"

SiteOption = Annotated[Path, typer.Option("--site", help="The site's site.toml.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def register(app: typer.Typer) -> None:
    """Add `audit` to `gliofed-client`."""
    audit = typer.Typer(
        help="Prove what left this site, and when.",
        epilog=console.epilog(f"{PROGRAM} audit verify --site site.toml"),
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    audit.command(epilog=console.epilog(f"{PROGRAM} audit verify --site site.toml"))(verify)
    audit.command(epilog=console.epilog(f"{PROGRAM} audit show --last 20 --site site.toml"))(show)
    audit.command(epilog=console.epilog(f"{PROGRAM} audit export audit.csv --site site.toml"))(export)
    app.add_typer(audit, name="audit")


def verify(
    site: SiteOption = Path("site.toml"),
    noted: Annotated[
        str | None, typer.Option(show_default=False, help="A digest that was noted before and must still be in it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read the whole log and say whether every line is as and where it was written; print the digest to note.

    Ends with exit code 5 where a line was changed, moved or lost. A digest noted outside this machine also finds a log
    that was replaced as a whole.
    """
    from client.config import load_site
    from client.privacy.audit import AuditLog

    head = AuditLog(load_site(site).workdir).verify(noted)
    if as_json:
        console.print_json({"entries": head.count, "digest": head.digest})
        return
    console.print_line(f"{head.count} entries, each as and where it was written; note this digest: {head.digest}")


def show(
    site: SiteOption = Path("site.toml"),
    last: Annotated[int, typer.Option(min=1, max=100_000, help="How many entries, the newest.")] = 20,
    tensors: Annotated[bool, typer.Option("--tensors", help="Every tensor with its digest.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the newest entries: what left in each message, under which plan, and what was decided."""
    from collections import deque

    from client.config import load_site
    from client.privacy.audit import AuditLog

    entries = list(deque(AuditLog(load_site(site).workdir).entries(), maxlen=last))
    if as_json:
        console.print_json([entry.model_dump(mode="json") for entry in entries])
        return
    columns = ["number", "at (UTC)", "what", "code", "stage", "round", "tensors", "numbers", "bytes", "plan", "by"]
    console.print_table("what left this site", columns, [_row(entry) for entry in entries])
    for entry in entries if tensors else ():
        if entry.tensors:
            rows = [[each.name, each.dtype, str(list(each.shape)), each.sha256] for each in entry.tensors]
            console.print_table(f"entry {entry.number}", ["tensor", "type", "shape", "SHA-256 as it left"], rows)


def export(
    out: Annotated[Path, typer.Argument(show_default=False, help="The file to write, .json or .csv.")],
    site: SiteOption = Path("site.toml"),
) -> None:
    """Write the whole verified log into one file: all of it as JSON, or a line a message as CSV."""
    from client.config import load_site
    from client.privacy.audit import AuditLog
    from client.privacy.audit_export import export_log

    count = export_log(AuditLog(load_site(site).workdir), out)
    console.print_line(f"{console.count(count, 'line')} of the log written to {out}")


def _row(entry: Entry) -> list[str]:
    cells: list[Any] = [
        entry.number,
        f"{entry.at:%Y-%m-%d %H:%M:%S}",
        entry.kind if entry.kind != "message" else f"answer to {entry.asked}",
        entry.code or entry.note,
        entry.stage,
        entry.round,
        len(entry.tensors) or None,
        len(entry.metrics) or None,
        entry.size_bytes or None,
        entry.plan and entry.plan[:12],
        entry.by,
    ]
    return ["-" if cell is None else str(cell) for cell in cells]
