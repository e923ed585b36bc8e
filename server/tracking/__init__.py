"""MLflow beside the coordinator: a process of its own that shows what the journals hold. No run waits for it."""
