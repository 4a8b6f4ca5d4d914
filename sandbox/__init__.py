"""Local simulators of the platforms, for the demo, rehearsals and tests. Imports nothing of the product."""
