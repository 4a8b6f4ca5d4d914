"""The pipeline, a module a step; ``coordinator`` moves a run forward through them."""
