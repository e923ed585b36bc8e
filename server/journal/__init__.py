"""What a run has on disk: one SQLite file that decides what counts, tensors beside it, and readable copies."""

from server.journal.counted_rounds import Checkpoint
from server.journal.journal import Journal

__all__ = ["Checkpoint", "Journal"]
