"""The verb `plan`: write down what the sites are asked to approve, and sign it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common import console

PROGRAM = "gliofed-server"


def register(app: typer.Typer) -> None:
    """Add the verb to `gliofed-server`."""
    app.command(epilog=console.epilog(f"{PROGRAM} plan study.toml ./consortium"))(plan)


def plan(
    study: Annotated[Path, typer.Argument(show_default=False, help="The study.toml.")],
    consortium: Annotated[Path, typer.Argument(show_default=False, help="The consortium's folder.")],
    run: Annotated[
        str | None, typer.Option(show_default=False, help="The run that it is for; default: the study's name.")
    ] = None,
    signing_key: Annotated[
        Path | None, typer.Option(show_default=False, help="The consortium's signing key, where it was moved off.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Write and sign the plan of a study: code, bundle, roster, run, and every tensor and number that may leave a site.

    The run then sends it to the sites, where a person approves it; the file may also be handed over by other means.
    """
    from common.identity.signing import Purpose, SigningKey, VerifyKey, read_signed
    from common.roster_file import MAX_ROSTER_BYTES, parse_roster
    from common.study import load_study
    from server.approval.written_plans import write_study_plan
    from server.consortium.folder import Consortium
    from server.hosting.submit import installed_bundle, planned_run_config

    opened, parsed = Consortium.open(consortium), load_study(study)
    name = run or parsed.name
    pinned = VerifyKey.load(opened.signing_pub)
    roster = read_signed(opened.roster, pinned, Purpose.ROSTER, MAX_ROSTER_BYTES)
    written, path = write_study_plan(
        opened,
        name,
        study.read_text("utf-8"),
        parse_roster(roster.decode("utf-8", "replace"), str(opened.roster)),
        planned_run_config(name),
        installed_bundle(opened).sha256,
        SigningKey.load(signing_key or opened.signing_key),
    )
    tensors = sum(len(forms) for groups in written.outgoing.values() for forms in groups.values())
    if as_json:
        console.print_json({"digest": written.digest, "file": str(path), "run": name, "tensors": tensors})
        return
    console.print_line(f"plan {written.digest} of study {parsed.name} for run {name}: {path}")
    console.print_line(
        f"{tensors} tensors and {len(written.metrics)} numbers may leave {console.count(len(parsed.sites), 'site')}; "
        f"each approves it with `gliofed-client approve {written.digest[:12]}`"
    )
