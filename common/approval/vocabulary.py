"""The names under which numbers may leave a site with an update; nothing of another name ever does."""

from __future__ import annotations

LOSSES = frozenset(
    {
        *("loss", "discriminator", "adversarial", "style", "lesion_style", "diversity", "cycle", "identity", "paired"),
        *("synthesis", "segmentation", "dice", "cross_entropy", "consistency"),
        *("features", "dissimilarity"),
        *("win_rate", "output_spread", "style_spread", "style_drift"),
    }
)
"""What a step may report of its training: losses, and the figures that an alarm at the coordinator looks at."""

SCORES = frozenset(
    {
        *("loss", "mae", "mae_copy", "mae_lesion", "ssim", "synthesis", "segmentation"),
        *("dice", "dice_wt", "dice_tc", "dice_et", "cross_entropy", "consistency", "accuracy"),
    }
)
"""What an evaluation on held-out patients may report."""

VOCABULARY = frozenset(f"training.{name}" for name in LOSSES) | frozenset(f"held_out.{name}" for name in SCORES)
