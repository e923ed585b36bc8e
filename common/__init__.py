"""What hospitals and coordinator share: vocabulary, study settings, wire contract, networks and metrics."""

__version__ = "0.1.0"
