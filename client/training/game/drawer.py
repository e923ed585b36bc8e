"""The side of generator, encoder and mapper in the UMMGAT game: what a drawing is asked to be.

It deceives the discriminator, shows the style that was asked for, its lesion the style of lesions, equals the
registered target where there is one, leads back to its source where there is none, and differs from style to style.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from client.training.accumulation import Term
from client.training.game.batch import GanBatch
from client.training.game.drawing import Drawing
from common.generative.adversarial import diversity_loss, generator_loss
from common.settings.stages import GeneratorStage

Terms = dict[str, Term]


@dataclass(frozen=True)
class Drawer:
    """What generator, encoder and mapper go down.

    Attributes:
        image_domains: how many of the model's domains are of whole images: that many numbers behind each is its twin.
    """

    drawing: Drawing
    settings: GeneratorStage
    image_domains: int

    def terms(self, batch: GanBatch, progress: float) -> Terms:
        """Return the losses; `progress` is the share of the stage's steps that are done."""
        style, drawn = self.drawing.of(batch)
        terms = self._deception(batch, drawn)
        with self.drawing.autocast():
            code = self.drawing.model.encoder(drawn, batch.target_number)
        terms["style"] = Term((code - style).abs().mean(), self.settings.style_weight)
        terms |= self._lesion_style(batch, drawn) | self._paired(batch, drawn) | self._cycle(batch, drawn)
        return terms | self.diversity(batch, drawn, progress)

    def masses(self, batch: GanBatch) -> dict[str, float]:
        """Return what the means of `terms` divide by; rows where it says nothing."""
        counts = {name: weight[rows].sum() for name, (rows, weight) in self._pair_weights(batch).items()}
        if self._judged_locally:
            counts["adversarial"] = batch.own.sum()
        counts["lesion_style"] = _with_lesions(batch).sum()
        counts["cycle"] = batch.brain[~batch.paired].sum()
        counts["diversity"] = batch.brain[batch.in_drawn_style].sum()
        return {name: float(count) for name, count in counts.items()}

    @property
    def _judged_locally(self) -> bool:
        return self.settings.discriminator == "local"

    def _deception(self, batch: GanBatch, drawn: Tensor) -> Terms:
        """Deceive the discriminator in all rows, a local one in those towards the site's own domains."""
        number = batch.target_number
        if self._judged_locally:
            if not bool(batch.own.any()):
                return {}
            drawn, number = drawn[batch.own], number[batch.own]
        logits = self.drawing.model.discriminator(drawn, number)
        return {"adversarial": Term(generator_loss(logits), self.settings.adversarial_weight)}

    def _lesion_style(self, batch: GanBatch, drawn: Tensor) -> Terms:
        """Compare the codes of the drawn lesion and of the reference's lesion under the twin's head (UMMGAT LAM)."""
        rows = _with_lesions(batch)
        if self.settings.lesion_style_weight == 0 or not bool(rows.any()):
            return {}
        encoder, twin = self.drawing.model.encoder, batch.target_number[rows] + self.image_domains
        with self.drawing.autocast():
            wanted = encoder(_only(batch.reference[rows], batch.reference_lesion[rows]), twin)
            code = encoder(_only(drawn[rows], batch.lesion[rows]), twin)
        return {"lesion_style": Term((code - wanted).abs().mean(), self.settings.lesion_style_weight)}

    def _paired(self, batch: GanBatch, drawn: Tensor) -> Terms:
        """Absolute error to the registered target, lesions weighted, identity rows apart."""
        weights = {"identity": self.settings.identity_weight, "paired": self.settings.paired_weight}
        terms: Terms = {}
        for name, (rows, weight) in self._pair_weights(batch).items():
            if bool(rows.any()):
                error = (drawn[rows] - batch.target[rows]).abs()
                terms[name] = Term((error * weight[rows]).sum() / weight[rows].sum(), weights[name])
        return terms

    def _pair_weights(self, batch: GanBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the rows (B,) of identity and of true pairs, each with the weight of every pixel (B, 1, H, W)."""
        identity = batch.paired & (batch.source_number == batch.target_number)
        weight = batch.brain * (1 + self.settings.paired_lesion_weight * batch.lesion)
        return {"identity": (identity, weight), "paired": (batch.paired & ~identity, weight)}

    def _cycle(self, batch: GanBatch, drawn: Tensor) -> Terms:
        """Redraw the unpaired rows back in their source's own style."""
        rows = ~batch.paired
        if self.settings.cycle_weight == 0 or not bool(rows.any()):
            return {}
        source, brain = batch.source[rows], batch.brain[rows]
        with self.drawing.autocast():
            style = self.drawing.model.encoder(source, batch.source_number[rows])
            back = self.drawing.redraw(drawn[rows], style, brain)
        return {"cycle": Term(((back - source).abs() * brain).sum() / brain.sum(), self.settings.cycle_weight)}

    def diversity(self, batch: GanBatch, drawn: Tensor, progress: float) -> Terms:
        """Reward the distance to a drawing of the same rows in a second style of the same domain; it fades."""
        if batch.other_latent is None or not bool(batch.in_drawn_style.any()):
            return {}
        rows, weight = batch.in_drawn_style, self.settings.diversity_weight * (1 - progress)
        brain = batch.brain[rows]
        with torch.no_grad(), self.drawing.autocast():
            style = self.drawing.model.mapper(batch.other_latent[rows], batch.target_number[rows])
            other = self.drawing.redraw(batch.source[rows], style, brain)
        return {"diversity": Term(diversity_loss(drawn[rows], other, brain), weight)}


def _with_lesions(batch: GanBatch) -> Tensor:
    """Return the rows (B,) whose lesion can be compared with the reference's."""
    return batch.own & batch.lesion.flatten(1).any(1) & batch.reference_lesion.flatten(1).any(1)


def _only(image: Tensor, mask: Tensor) -> Tensor:
    """Return the image inside the mask and background elsewhere."""
    return torch.where(mask, image, -1.0)
