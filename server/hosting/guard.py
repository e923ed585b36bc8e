"""The process that a run gets at the coordinator, in the place of `flwr-serverapp`: it runs the installed app alone.

Flower's Control API asks nobody who he is, and Flower's own process would unpack and run what was submitted there. Here
the functions by which it does so are replaced, before it is called, by ones that look at the bundle and at the run's
configuration. A bundle that is not the consortium's signed one, of the very code installed here, ends the run before
anything of it is read, and so does a configuration that none of the consortium's signed plans names. Where Flower has
not all of these functions, nothing runs at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from queue import Queue
from types import ModuleType

from flwr.app import Context
from flwr.serverapp import Grid
from flwr.supercore.logger import mirror_output_to_queue

from common import logs
from common.errors import GliofedError, PolicyError
from common.identity.signing import VerifyKey
from common.processes.handover import Handover
from common.processes.stand_in import install_nothing, stand_in
from common.sources import Shipped
from common.study import code_version
from server.consortium.folder import Consortium
from server.hosting.bundle import SERVER_APP, read_bundle, unset_run_config

log = logs.logger("server.hosting.guard")  # also where it runs as __main__

flower = import_module("flwr.superlink.runtime.run_serverapp")  # an import statement gets the function of that name

App = Callable[[Grid, Context], None]


class RefusedRunError(PolicyError):
    """A run was submitted that the consortium did not sign."""

    code = "refused-run"


class Guard:
    """Stands for the ServerApp of a bundle that it has only looked at.

    Args:
        consortium: whose bundle and whose plans count.
        load: returns the app that is installed here.
    """

    def __init__(self, consortium: Consortium, load: Callable[[], App]) -> None:
        self._consortium, self._load = consortium, load
        self._sha256, self._planned = "", False

    def look_at(self, bundle: bytes, **more: object) -> None:
        """Take the bundle in, as `install_from_fab` would; nothing is unpacked.

        Raises:
            RefusedRunError: where it is another than the signed one, or of other code than is installed here.
            StudyError: where the consortium has no bundle.
            SignatureError: where the consortium's own is not as it was signed.
        """
        self._sha256 = ""
        shipped = Shipped.of(bundle)
        card, _ = read_bundle(self._consortium.bundle, VerifyKey.load(self._consortium.signing_pub))
        if shipped.sha256 != card.sha256:
            raise RefusedRunError(
                f"the run is refused: its bundle {shipped.sha256[:12]} is not the one that the consortium signed, "
                f"{card.sha256[:12]}; submit runs by `gliofed-server run`"
            )
        if not shipped.same_code:
            raise RefusedRunError(
                f"the run is refused: the signed bundle {shipped.sha256[:12]} holds other code than GlioFed "
                f"{code_version()}, which is installed here; make a new one with `gliofed-server bundle`, and a plan"
            )
        self._sha256 = shipped.sha256

    def fused_config(self, _: Path, override: Mapping[str, str | bool]) -> dict[str, str | bool]:
        """Return the run's configuration, as `get_fused_config_from_dir` does. Raises RefusedRunError: not planned."""
        from server.approval.signed_plans import signed_plans

        self._planned = False
        config = {**unset_run_config(), **override}
        for plan in signed_plans(self._consortium):
            if self._sha256 and plan.bundle_sha256 == self._sha256 and plan.fits_run(config):
                self._planned = True
                log.info("bundle %s, plan %s: the installed app runs", self._sha256[:12], plan.digest[:12])
                return config
        raise RefusedRunError(
            f"the run is refused: no signed plan in {self._consortium.plans} names its bundle and its configuration; "
            "write one with `gliofed-server plan`"
        )

    def run(self, *, grid: Grid, context: Context, **_: object) -> Context:
        """Run the installed app, whatever app is named. Raises RefusedRunError where bundle or plan were not seen."""
        if not (self._sha256 and self._planned):
            raise RefusedRunError("the run is refused: its bundle and its configuration were not looked at")
        self._load()(grid, context)
        return context


def stand_before(module: ModuleType, guard: Guard) -> None:
    """Put the guard in the place of what runs a bundle. Raises RuntimeError where Flower does it in another way."""
    app = {"tool": {"flwr": {"app": {"components": {"serverapp": SERVER_APP}}}}}
    ways: dict[str, Callable[..., object]] = {
        "install_from_fab": guard.look_at,
        "get_project_dir": lambda *names: Path(),
        "install_app_dependencies": install_nothing,
        "get_project_config": lambda folder: app,
        "get_fused_config_from_dir": guard.fused_config,
        "run_": guard.run,
    }
    stand_in(module, ways)


def installed_app() -> App:
    """Import the ServerApp that is installed here; a run that is refused does without."""
    module, _, name = SERVER_APP.partition(":")
    app: App = getattr(import_module(module), name)
    return app


def say_in_one_line(record: logging.LogRecord) -> bool:
    """Let an error of ours be one line of Flower's log: it says what to do, and a traceback would bury it."""
    if record.exc_info and isinstance(record.exc_info[1], GliofedError):
        record.msg, record.args, record.exc_info = "%s", (str(record.exc_info[1]),), None
    return True


def main() -> None:
    """Run one task of the SuperLink at the given address, for the consortium in whose folder this process works."""
    task = Handover.received(__doc__)
    output: Queue[str | None] = Queue()
    mirror_output_to_queue(output)  # `flwr log` shows it
    logs.configure("info")
    logging.getLogger("flwr").addFilter(say_in_one_line)
    stand_before(flower, Guard(Consortium.open(Path()), installed_app))
    flower.run_serverapp(
        runtime_api_address=task.address,
        log_queue=output,
        token=task.token,
        insecure=task.certificates is None,
        certificates=task.certificates,
        parent_pid=task.parent_pid,
        runtime_dependency_install=False,
    )


if __name__ == "__main__":
    main()
