"""A consortium on one machine: phantom hospitals, in-process federation, comparison, report."""
