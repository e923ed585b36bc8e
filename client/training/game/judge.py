"""The discriminator's side of the UMMGAT game: telling references from drawings, in the site's own domains alone."""

from __future__ import annotations

from dataclasses import dataclass

from client.training.accumulation import Term
from client.training.game.batch import GanBatch
from client.training.game.drawing import Drawing
from common.generative.adversarial import discriminator_loss, r1_penalty
from common.settings.stages import GeneratorStage


@dataclass(frozen=True)
class Judge:
    """What the discriminator goes down; it sees nothing of what is drawn towards other sites' domains."""

    drawing: Drawing
    settings: GeneratorStage

    def terms(self, batch: GanBatch, with_r1: bool) -> dict[str, Term]:
        """Return the discriminator's losses, and the share of pictures it calls right."""
        _, drawn = self.drawing.of(batch)
        if not bool(batch.own.any()):
            return {"discriminator": Term(drawn.new_zeros(())), "win_rate": Term(drawn.new_zeros(()), weight=None)}
        judge, settings = self.drawing.model.discriminator, self.settings
        real, number = batch.reference[batch.own], batch.target_number[batch.own]
        real.requires_grad_(with_r1)
        real_logits, drawn_logits = judge(real, number), judge(drawn.detach()[batch.own], number)
        wins = ((real_logits.detach() > 0).float() + (drawn_logits.detach() < 0).float()) / 2
        terms = {
            "discriminator": Term(discriminator_loss(real_logits, drawn_logits)),
            "win_rate": Term(wins.mean(), weight=None),
        }
        if with_r1:
            terms["r1"] = Term(r1_penalty(real_logits, real), settings.r1_weight * settings.r1_every)
        return terms

    @staticmethod
    def masses(batch: GanBatch) -> dict[str, float]:
        """Return what the means of `terms` divide by: the rows of the site's own domains."""
        return dict.fromkeys(("discriminator", "r1", "win_rate"), float(batch.own.sum()))
