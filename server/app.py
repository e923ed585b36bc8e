"""The Flower ServerApp: read the run configuration, run the study, end with an error unless the run is complete."""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.logs import logger
from common.nets.stage_models import build_model
from common.roster_file import load_roster
from common.study import load_study
from server.config import read_run_config
from server.continuation import continuing
from server.events import AlarmRaised, Event, Listener, RoundFinished, RunFinished, SiteAnswered, SiteAssessed
from server.rounds import run_study
from server.stages import ModelBuilder

log = logger(__name__)


def log_event(event: Event) -> None:
    """Log what a person at the coordinator wants to read."""
    match event:
        case SiteAnswered(stage, number, site, code):
            log.info("%s round %d: %s %s", stage, number, site, code)
        case AlarmRaised(stage, number, alarm):
            log.warning(
                "%s round %d: %s of %s, %.3g beyond %.3g",
                stage,
                number,
                alarm.kind,
                alarm.site,
                alarm.value,
                alarm.limit,
            )
        case RoundFinished(stage, number, rounds, record):
            log.info("%s round %d of %d counts, %.1f s", stage, number, rounds, record["seconds"])
        case SiteAssessed(site, code):
            log.info("assessment: %s %s", site, code)
        case RunFinished(result):
            log.info("run %s is %s", result.run, result.status)
        case _:
            pass


def make_app(on_event: Listener = log_event, build: ModelBuilder = build_model) -> ServerApp:
    """Return the ServerApp; an engine listens to its events, a test gives its own models."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        config = read_run_config(context.run_config)
        study, roster = load_study(config.study_path), load_roster(config.roster_path)
        run_study(
            grid,
            study,
            config.out_path,
            roster,
            config.resume,
            on_event,
            continuing(build, study, config.start_path),
            config.identifier_weights_path,
            settings=config.submitted_again(),
            run=config.run or None,
        ).require_complete()

    return app


app = make_app()
