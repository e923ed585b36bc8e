"""What the attacks on a release achieved over all sites: estimates, and the bounds that are held against limits."""

from __future__ import annotations

from dataclasses import dataclass

from common.settings.frozen import Frozen
from common.settings.stages import Stage


@dataclass(frozen=True)
class AttackRow:
    """One attack as a reader wants it: what was attacked and measured, what it reached, its bound, on whom."""

    attack: str
    measure: str
    reached: float
    at_most: float
    patients: str


class MembershipFigure(Frozen):
    """How well one attack tells members from strangers, over all sites that could say.

    Attributes:
        members, strangers: patients.
        auc: area under its ROC curve, 1/2 where it guesses.
        auc_at_most: its upper confidence bound.
        caught: members caught at a tenth of false alarms among these strangers, as a share; where a site's bins were
            merged, at most. An estimate without a bound: few strangers say little of where a tenth lies.
        sites: area at each site.
    """

    members: int
    strangers: int
    auc: float
    auc_at_most: float
    caught: float
    sites: dict[str, float]


class MembershipFigures(Frozen):
    """Figures by attack, `<stage>/<loss>`; the bounds hold at one-sided `confidence`."""

    confidence: float
    attacks: dict[str, MembershipFigure]

    @property
    def rows(self) -> tuple[AttackRow, ...]:
        """The areas."""
        return tuple(
            AttackRow(f"membership {name}", "area under ROC", each.auc, each.auc_at_most,
                      f"{each.members} trained on, {each.strangers} held out")
            for name, each in self.attacks.items()
        )  # fmt: skip


class MemorisationFigure(Frozen):
    """How many drawings of one model are copies, over all sites that could say.

    Attributes:
        patients: held-out patients that were drawn.
        copied: of those, the ones whose drawing lies at a trained patient.
        share_at_most: upper confidence bound of their share.
        nearness: mean over patients of how near the drawing lies for one of its kind: 1 as near as the real picture.
    """

    patients: int
    copied: int
    share_at_most: float
    nearness: float


class MemorisationFigures(Frozen):
    """Figures by stage; the bounds hold at one-sided `confidence`."""

    confidence: float
    stages: dict[Stage, MemorisationFigure]

    @property
    def rows(self) -> tuple[AttackRow, ...]:
        """The shares of copies."""
        return tuple(
            AttackRow(f"copies by {stage.value}", "share", each.copied / each.patients, each.share_at_most,
                      f"{each.patients} held out")
            for stage, each in self.stages.items()
        )  # fmt: skip
