"""How a task's token passes from the executor to the guard."""

TOKEN = "GLIOFED_TASK_TOKEN"  # noqa: S105 (the name of a variable)
"""In the environment, not among the arguments: other users of the machine can read those."""
