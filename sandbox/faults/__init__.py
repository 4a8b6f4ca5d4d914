"""Faults of the network between two systems, on purpose and on demand."""
