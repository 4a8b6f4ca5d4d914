"""The first halves: one module per platform, from its entities to the universal model."""
