"""The fault campaign: migrations, deltas and rollbacks by real workers under faults by chance, and a check of all."""
