"""Which patients of a site stand behind what the UMMGAT game teaches, and behind each figure that it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from client.data.cache import CachedCase, LabelKind
from client.data.dataset import CaseStore
from client.training.game.batch import holding
from common.parameters import DOMAIN_PREFIX, SHARED
from common.sequences import Domain, Sequence

EVERYBODYS = ("discriminator", "win_rate", "adversarial", "style", "diversity", "identity")
"""Losses that every row gives."""
WATCHED = ("output_spread", "style_spread", "style_drift")


@dataclass(frozen=True)
class GanPatients:
    """The patients of a site, as the game sees them.

    Attributes:
        store: the site's cases.
        own: the site's sequences of the study, each with its domain.
        use_pairs: whether a registered second sequence of a patient may be a paired target.
        has_foreign: whether rows are drawn towards other sites' domains.
    """

    store: CaseStore
    own: Mapping[Sequence, Domain]
    use_pairs: bool
    has_foreign: bool

    def all(self) -> tuple[str, ...]:
        """Return the patients who hold any of the site's domains."""
        return tuple(self.store.patients(self._holds))

    def of_groups(self) -> dict[str, int]:
        """Return how many touch each parameter group: all, and those that hold each domain or its lesions."""
        counts = {SHARED: len(self.all())}
        for sequence, domain in self.own.items():
            counts[DOMAIN_PREFIX + domain.key] = len(self.store.patients(holding(sequence)))
            counts[DOMAIN_PREFIX + domain.twin.key] = len(self.store.patients(_lesion_of(sequence)))
        return {group: count for group, count in counts.items() if count}

    def behind_losses(self, watched: int) -> dict[str, int]:
        """Return how many stand behind each loss: for pairs, cycles and lesions those that give such rows, else all.

        `watched` patients are behind what watches the game.
        """
        tumours = {case.patient for case, slices in zip(self.store.cases, self.store.with_tumour, strict=True)
                   if len(slices) and self._holds(case)}  # fmt: skip
        return (
            dict.fromkeys(EVERYBODYS, len(self.all()))
            | dict.fromkeys(WATCHED, watched)
            | {
                "lesion_style": len(tumours),
                "paired": len(self.store.patients(lambda case: self.use_pairs and len(self._held(case)) > 1)),
                "cycle": len(self.store.patients(self._can_be_unpaired)),
            }
        )

    def _held(self, case: CachedCase) -> list[Sequence]:
        """Return which of the site's domains a case holds."""
        return [sequence for sequence in case.sequences if sequence in self.own]

    def _holds(self, case: CachedCase) -> bool:
        return bool(self._held(case))

    def _can_be_unpaired(self, case: CachedCase) -> bool:
        """Whether a row of this case can have a target that nothing is registered to."""
        held = self._held(case)
        other = len(held) < len(self.own) or (not self.use_pairs and len(self.own) > 1)
        return bool(held) and (self.has_foreign or other)


def _lesion_of(sequence: Sequence) -> Callable[[CachedCase], bool]:
    return lambda case: sequence in case.sequences and case.label_kind is not LabelKind.NONE
