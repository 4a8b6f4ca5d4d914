"""How to talk to a platform: sources, targets and what they share. Knows nothing of Django or of this product."""

import sys

# httpx imports its command line as soon as the packages for it are there, and they are, for other reasons: 5 MiB of
# every worker. It takes this for their being missing, which it is prepared for.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
