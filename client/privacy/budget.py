"""The site's last word on privacy: a round is reserved in the ledger, or not trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.config import Policy
from client.privacy.accountant import Steps, epsilon_of, exceeds, rdp_epsilon
from client.privacy.ledger import Entry, Ledger
from common.errors import PolicyError
from common.records import BUDGET_EXHAUSTED, Task
from common.spent import Spent


class BudgetExhaustedError(PolicyError):
    """One more round would spend more of the patients' privacy than the study or the site allows."""

    code = BUDGET_EXHAUSTED


@dataclass(frozen=True)
class Budget:
    """A site's ledger under its policy."""

    ledger: Ledger
    policy: Policy

    @classmethod
    def of(cls, workdir: Path, policy: Policy) -> Budget:
        """Return the budget of the site that works in `workdir`."""
        return cls(Ledger(workdir), policy)

    def reserve(self, task: Task, moves: int) -> Spent:
        """Reserve one round of `task`, `moves` noisy moves a step, and return what is spent with it.

        Raises:
            BudgetExhaustedError: where it would exceed the study's epsilon, or the site's over all studies.
            LedgerError: where the ledger cannot be read or written.
        """
        entry = entry_of(task, moves)
        seen: list[Entry] = []

        def allowed(entries: list[Entry]) -> None:
            seen[:] = [each for each in entries if each.study == entry.study]
            self._refuse_above(seen, entry.delta, task.study.privacy.epsilon, "privacy.epsilon of the study")
            if self.policy.epsilon_budget is not None:
                where = "policy.epsilon_budget in site.toml, over all studies"
                self._refuse_above(entries, self.policy.budget_delta, self.policy.epsilon_budget, where)

        self.ledger.reserve(entry, allowed)
        of_stage = [each for each in seen if each.stage == entry.stage]
        return Spent(
            delta=entry.delta,
            steps=sum(each.steps for each in of_stage),
            stage_epsilon=spent(of_stage, entry.delta),
            study_epsilon=spent(seen, entry.delta),
        )

    def _refuse_above(self, entries: list[Entry], delta: float, limit: float, setting: str) -> None:
        """Raise BudgetExhaustedError where `entries`, the new one last, cost more than `limit`."""
        if exceeds(map(_steps, entries), delta, limit):
            raise BudgetExhaustedError(
                f"{entries[-1].stage} round {entries[-1].round} would bring the patients' epsilon to "
                f"{spent(entries, delta):.3g} at delta {delta:g}, above {limit:g}, {setting}; "
                "the site sits the stage out"
            )


def entry_of(task: Task, moves: int) -> Entry:
    """Return the entry of one round: `moves` noisy moves in each of its local steps."""
    settings = task.study.stages.of(task.stage)
    assert settings is not None, "a task names a stage of its study"  # noqa: S101
    privacy = task.study.privacy
    return Entry(
        study=task.study_digest,
        study_name=task.study.name,
        run=task.run,
        stage=task.stage.value,
        round=task.round,
        steps=settings.local_steps * moves,
        sampling_rate=privacy.sampling_rate,
        noise_multiplier=privacy.noise_multiplier,
        delta=privacy.delta,
    )


def spent(entries: list[Entry], delta: float) -> float:
    """Return epsilon of all the steps of `entries` together."""
    return epsilon_of(map(_steps, entries), delta)


def spent_by_rdp(entries: list[Entry], delta: float) -> float:
    """Return epsilon of all the steps of `entries` together, as Rényi divergences alone bound it."""
    return rdp_epsilon(map(_steps, entries), delta)


def _steps(entry: Entry) -> Steps:
    return Steps(entry.steps, entry.sampling_rate, entry.noise_multiplier)
