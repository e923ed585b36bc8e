"""The coordinator: rounds, aggregation, gate, journal, registry. It cannot open a scan."""
