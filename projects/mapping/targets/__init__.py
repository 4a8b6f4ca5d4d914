"""The second halves: one module per target, from the universal model to its tables."""
