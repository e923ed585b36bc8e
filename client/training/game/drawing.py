"""What both players of the UMMGAT game look at: the rows of a batch, drawn in the style that each asks for."""

from __future__ import annotations

import torch
from torch import Tensor

from client.precision import half_precision
from client.training.game.batch import GanBatch
from common.nets.ummgat import Ummgat


class Drawing:
    """Draws batches with the model's generator; the last batch's drawing is kept until it is forgotten."""

    def __init__(self, model: Ummgat, device: torch.device) -> None:
        self.model, self.device = model, device
        self._kept: tuple[GanBatch, Tensor, Tensor] | None = None

    def of(self, batch: GanBatch) -> tuple[Tensor, Tensor]:
        """Return style and drawing of a batch or part, kept until the next: both players share a whole one's."""
        if self._kept is None or self._kept[0] is not batch:
            self._kept = None  # its graph makes room
            with self.autocast():
                style = self.style_of(batch)
                self._kept = batch, style, self.redraw(batch.source, style, batch.brain)
        return self._kept[1:]

    def forget(self) -> None:
        """Let go of what is kept: the weights that drew it move."""
        self._kept = None

    def style_of(self, batch: GanBatch) -> Tensor:
        """Return codes (B, S): of the reference for the rows `by_picture`, of the mapper elsewhere."""
        style: Tensor = self.model.mapper(batch.latent, batch.target_number)
        rows = batch.by_picture.nonzero().squeeze(1)
        if not len(rows):
            return style
        seen = self.model.encoder(batch.reference[rows], batch.target_number[rows])
        return style.index_put((rows,), seen.to(style.dtype))

    def redraw(self, image: Tensor, style: Tensor, brain: Tensor) -> Tensor:
        """Draw inside the brain; outside stays background, -1."""
        return torch.where(brain, self.model.generator(image, style).float(), -1.0)

    def autocast(self) -> torch.autocast:
        """Return the precision that the networks run in here."""
        return half_precision(self.device)
