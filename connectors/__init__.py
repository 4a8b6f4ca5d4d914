"""How to talk to a platform: sources, targets and what they share. Knows nothing of Django or of this product."""
