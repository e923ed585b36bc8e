"""What a run has on disk: one SQLite file that decides what counts, tensors beside it, and readable copies."""

from server.journal.journal import Checkpoint, Journal

__all__ = ["Checkpoint", "Journal"]
