"""The Flower ClientApp: which message is answered by what. Errors stay here as text and leave as codes."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.answers.assessment import answer_assessment
from client.answers.guarded import guarded
from client.answers.opened import OpenedSites, Opener, open_from_file
from client.answers.question import answer_question, answer_stop
from client.answers.secure_sum import answer_phase
from client.answers.site_file import site_file
from client.answers.task import answer_task
from client.assessment import catalogue
from client.assessment.answer import AssessorOf
from client.config import load_site
from client.training.tasks import Bench
from common.records import STOP
from common.secure.messages import AGREE, MASKED, SHARES, UNMASK


def make_app(
    opener: Opener = open_from_file, bench: Bench | None = None, assessor_of: AssessorOf = catalogue.assessor
) -> ClientApp:
    """Return the ClientApp; a test gives its own way to open a site, its own models and its own assessors."""
    app, opened = ClientApp(), OpenedSites(opener)

    @app.query()
    def inventory(message: Message, context: Context) -> Message:
        """Answer what the site has, in counts of patients."""
        return guarded(message, context, lambda: answer_question(message, context, opened))

    @app.query(STOP)
    def stop(message: Message, context: Context) -> Message:
        """End a run at this site."""
        return guarded(message, context, lambda: answer_stop(message, context))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        """Train one round and score the held-out patients, in one message."""
        return guarded(message, context, lambda: answer_task(message, context, opened, bench or Bench()))

    @app.evaluate()
    def assess(message: Message, context: Context) -> Message:
        """Judge the weights that are to become a release, once, on the site's own patients."""
        return guarded(
            message, context, lambda: answer_assessment(message, context, opened, bench or Bench(), assessor_of)
        )

    for phase in (SHARES, MASKED, AGREE, UNMASK):
        app.train(phase)(_phase_handler(phase))
    return app


def _phase_handler(phase: str) -> Callable[[Message, Context], Message]:
    """Return what answers a phase of a secure sum; it needs the site's keys and folder, not its cases."""

    def handle(message: Message, context: Context) -> Message:
        return guarded(message, context, lambda: answer_phase(phase, message.content, load_site(site_file(context))))

    return handle


app = make_app()
