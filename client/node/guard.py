"""The process that a task gets at this site, in the place of `flwr-clientapp`: it runs the installed app, never theirs.

Flower's own would unpack the bundle, put it before everything else on the search path, and run it. Here the functions
by which it does so are replaced, before it is called, by ones that look at the bundle and load what is installed. Where
Flower has not all of them, nothing runs at all.

What brings torch along is imported inside functions: a task whose first heartbeat is not there within 30 s is lost, and
a machine that is at work can take longer than that to begin.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from flwr.app import Context, Message
from flwr.supernode.runtime import run_clientapp as flower

from client.config import load_site
from client.node.supernode import SITE_KEY
from client.node.verdict import Verdict, judge
from common import logs
from common.errors import GliofedError
from common.processes.handover import Handover
from common.processes.stand_in import install_nothing, stand_in
from common.sources import Shipped
from common.study import code_version

if TYPE_CHECKING:
    from common.approval.study_plan import StudyPlan

log = logs.logger("client.node.guard")  # also where it runs as __main__

App = Callable[[Message, Context], Message]


class Guard:
    """Stands for the ClientApp of a bundle that it has only looked at.

    Args:
        installed: the app that is installed here; None is the ClientApp of this code.
    """

    def __init__(self, installed: App | None = None) -> None:
        self._installed = installed
        self._shipped = Shipped("", same_code=False)

    def look_at(self, bundle: bytes, **_: object) -> None:
        """Take the bundle in, as `install_from_fab` would."""
        self._shipped = Shipped.of(bundle)

    def loader(self, **_: object) -> Callable[..., App]:
        """Return what loads an app, as `get_load_client_app_fn` does: whatever is asked for, it is this one."""
        return lambda *names: self

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a message, by the installed app or by a code; no exception leaves, for Flower would send its text."""
        from client.answers.question import refuse
        from client.app import app

        try:
            verdict = self._judge(message, context)
        except Exception as error:  # of site.toml, or of a message that speaks of two studies
            return refuse(message, context, error, keep_plan=False)
        if verdict is Verdict.RUN:
            return (self._installed or app)(message, context)
        return refuse(message, context, self._refusal(verdict), keep_plan=verdict is Verdict.ASK)

    def _judge(self, message: Message, context: Context) -> Verdict:
        from client.privacy.audit_message import sole_subject

        plans = approved_at(load_site(Path(str(context.node_config[SITE_KEY]))).workdir)
        study = sole_subject(message.content).study_digest  # texts travel beside the parcel, so it stays wrapped
        if study is not None:
            plans = [plan for plan in plans if plan.study_digest == study][-1:]
        kind = message.metadata.message_type
        verdict = judge(self._shipped, kind, context.run_config, plans)
        log.info("run %d, %s, bundle %s: %s", context.run_id, kind, self._shipped.sha256[:12], verdict.value)
        return verdict

    def _refusal(self, verdict: Verdict) -> GliofedError:
        from client.answers.opened import OtherCodeError
        from client.consent.approvals import NotApprovedError

        short = self._shipped.sha256[:12]
        if verdict is Verdict.OTHER_CODE:
            return OtherCodeError(
                f"the bundle {short} holds other code than GlioFed {code_version()}, which is installed here; install "
                "the version that the coordinator ships"
            )
        return NotApprovedError(
            f"no plan that is approved at this site names the bundle {short} and the run's configuration; see "
            "`gliofed-client plans`"
        )


def approved_at(workdir: Path) -> list[StudyPlan]:
    """Return the plans that a person approved, the newest approval last."""
    from client.consent.approvals import approved

    return approved(workdir)


def stand_before(module: ModuleType, guard: Guard) -> None:
    """Put the guard in the place of what runs a bundle. Raises RuntimeError where Flower does it in another way."""
    ways: dict[str, Callable[..., object]] = {
        "install_from_fab": guard.look_at,
        "get_project_dir": lambda *names: Path(),
        "get_load_client_app_fn": guard.loader,
        "install_app_dependencies": install_nothing,
    }
    stand_in(module, ways)


def main() -> None:
    """Run one task of the SuperNode at the given address."""
    task = Handover.received(__doc__)
    logs.configure("info")
    stand_before(flower, Guard())
    flower.run_clientapp(
        runtime_api_address=task.address,
        token=task.token,
        insecure=True,  # on the loopback address, within this machine
        parent_pid=task.parent_pid,
        runtime_dependency_install=False,
    )


if __name__ == "__main__":
    main()
