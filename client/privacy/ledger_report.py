"""What a person at a hospital reads of the privacy ledger: spent by study, and left."""

from __future__ import annotations

from typing import Any

from client.config import SiteConfig
from client.privacy.budget import spent, spent_by_rdp
from client.privacy.ledger import Ledger


def report_ledger(config: SiteConfig) -> dict[str, Any]:
    """Return the site's spending, ready for JSON: by study in the order of their first round, and over all.

    `epsilon_rdp` is what Rényi divergences alone say. `left` is what the site's budget exceeds the spending by; None
    without a budget. Raises LedgerError where the ledger is damaged.
    """
    entries = Ledger(config.workdir).entries()
    policy = config.policy
    studies = []
    for digest in dict.fromkeys(entry.study for entry in entries):
        of_study = [entry for entry in entries if entry.study == digest]
        delta = of_study[-1].delta
        studies.append(
            {
                "name": of_study[0].study_name,
                "digest": digest,
                "stages": list(dict.fromkeys(entry.stage for entry in of_study)),
                "rounds": len(of_study),
                "steps": sum(entry.steps for entry in of_study),
                "epsilon": spent(of_study, delta),
                "epsilon_rdp": spent_by_rdp(of_study, delta),
                "delta": delta,
            }
        )
    total, budget = spent(entries, policy.budget_delta), policy.epsilon_budget
    return {
        "site": config.name,
        "studies": studies,
        "epsilon": total,
        "delta": policy.budget_delta,
        "budget": budget,
        "left": None if budget is None else max(0.0, budget - total),
    }
