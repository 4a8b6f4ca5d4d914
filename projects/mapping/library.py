"""Which halves are packaged: a literal, like the connectors' own registry."""

from collections.abc import Mapping

from projects.mapping.platforms import salesforce
from projects.mapping.specification import Half
from projects.mapping.targets import product

PLATFORMS: Mapping[str, tuple[Half, ...]] = {"salesforce": salesforce.HALVES}
TARGETS: Mapping[str, tuple[Half, ...]] = {"product": product.HALVES}


def platform_halves(slug: str) -> tuple[Half, ...]:
    """The first halves of a platform; none where nothing is packaged for it."""
    return PLATFORMS.get(slug, ())


def target_halves(name: str) -> tuple[Half, ...]:
    """The second halves of a target model; none where nothing is packaged for it."""
    return TARGETS.get(name, ())
