"""From the references among objects to waves that can be loaded, and the references to write later."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

from connectors.errors import SettingsInvalid

EXACT_LIMIT = 12
"""Up to this many candidates in one knot of cycles, the fewest references are found by trying them all."""


class OrderImpossible(SettingsInvalid):
    """Objects need one another by required references only; ``cycle`` names them in order."""

    def __init__(self, cycle: Sequence[str]) -> None:
        path = " → ".join([*cycle, cycle[0]])
        super().__init__(
            f"No order of loading exists: {path} need one another by required references. "
            "Make one of these references optional in the target, or leave an object out."
        )
        self.cycle = tuple(cycle)


Link: TypeAlias = tuple[str, str, bool]
"""(field, the object it points at, whether a record must have it)."""


@dataclass(frozen=True, slots=True)
class Node:
    """An object of the plan. A polymorphic field has one link per object it may point at."""

    name: str
    references: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """``waves`` are loaded one after the other; ``deferred`` are the (object, field) written after them."""

    waves: tuple[tuple[str, ...], ...]
    deferred: frozenset[tuple[str, str]]


Edge: TypeAlias = tuple[str, str]
"""(object, field)."""

Graph: TypeAlias = Mapping[str, Mapping[Edge, frozenset[str]]]
"""Object → its references → the objects each points at."""


def plan_order(objects: Sequence[Node]) -> Order:
    """The waves, each as early as can be, names sorted; the same for every order of ``objects``.

    References to oneself are deferred, even required ones: the record must exist before anything can
    point at it, and the target decides whether it takes a row without. Cycles are cut at optional
    references, as few as possible where the knot is small. References to objects outside the plan are
    ignored. Raises OrderImpossible for a cycle of required references, SettingsInvalid for two objects
    of one name.
    """
    nodes = sorted(objects, key=lambda node: node.name)
    names = [node.name for node in nodes]
    if len(set(names)) != len(names):
        raise SettingsInvalid(f"The plan names the object “{_first_repeated(names)}” twice. Keep one of them.")
    graph = {node.name: _edges(node, frozenset(names)) for node in nodes}
    own = {edge for edges in graph.values() for edge, to in edges.items() if edge[0] in to}
    required = frozenset((node.name, field) for node in nodes for field, _, needed in node.references if needed)
    _refuse_required_cycle(_without(_only(graph, required), own))
    deferred = own | _cuts(_without(graph, own), required)
    return Order(_waves(_without(graph, deferred)), frozenset(deferred))


def _first_repeated(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _edges(node: Node, known: frozenset[str]) -> dict[Edge, frozenset[str]]:
    edges: dict[Edge, frozenset[str]] = {}
    for field, to, _ in sorted(node.references):
        if to in known:
            edge = (node.name, field)
            edges[edge] = edges.get(edge, frozenset()) | {to}
    return edges


def _only(graph: Graph, kept: Iterable[Edge]) -> Graph:
    kept = frozenset(kept)
    return {name: {edge: to for edge, to in edges.items() if edge in kept} for name, edges in graph.items()}


def _without(graph: Graph, dropped: Iterable[Edge]) -> Graph:
    dropped = frozenset(dropped)
    return {name: {edge: to for edge, to in edges.items() if edge not in dropped} for name, edges in graph.items()}


def _parents(graph: Graph, name: str) -> list[str]:
    return sorted(frozenset().union(*graph[name].values()))


def _refuse_required_cycle(graph: Graph) -> None:
    for knot in _knots(graph):
        raise OrderImpossible(_a_cycle(graph, knot))


def _a_cycle(graph: Graph, knot: frozenset[str]) -> list[str]:
    """Some cycle inside a knot, from its first name on."""
    path = [min(knot)]
    while True:
        following = next(name for name in _parents(graph, path[-1]) if name in knot)
        if following in path:
            cycle = path[path.index(following) :]
            start = cycle.index(min(cycle))
            return cycle[start:] + cycle[:start]
        path.append(following)


def _cuts(graph: Graph, required: frozenset[Edge]) -> set[Edge]:
    """Optional references whose deferral leaves no cycle."""
    cuts: set[Edge] = set()
    for knot in _knots(graph):
        inside = {name: {edge: to & knot for edge, to in graph[name].items() if to & knot} for name in sorted(knot)}
        optional = [edge for edges in inside.values() for edge in edges if edge not in required]
        cuts |= _fewest(inside, optional) if len(optional) <= EXACT_LIMIT else _enough(inside, optional)
    return cuts


def _fewest(graph: Graph, optional: Sequence[Edge]) -> set[Edge]:
    """The smallest set that leaves no cycle; of several the first by name."""
    return next(
        set(cut)
        for size in range(1, len(optional) + 1)
        for cut in combinations(sorted(optional), size)
        if not _knots(_without(graph, cut))
    )


def _enough(graph: Graph, optional: Sequence[Edge]) -> set[Edge]:
    """A set of which no member can be spared: all optional references, taken back one by one."""
    cut = set(optional)
    for edge in sorted(optional):
        if not _knots(_without(graph, cut - {edge})):
            cut.remove(edge)
    return cut


def _knots(graph: Graph) -> list[frozenset[str]]:
    """The strongly connected components of more than one object, sorted by their first name."""
    reach = {name: _reachable(graph, name) for name in graph}
    knots = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}
    return sorted(knots, key=min)


def _reachable(graph: Graph, start: str) -> frozenset[str]:
    found: set[str] = set()
    ahead = _parents(graph, start)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += _parents(graph, name)
    return frozenset(found)


def _waves(graph: Graph) -> tuple[tuple[str, ...], ...]:
    waves: list[tuple[str, ...]] = []
    placed: set[str] = set()
    while len(placed) < len(graph):
        wave = tuple(sorted(name for name in graph if name not in placed and placed.issuperset(_parents(graph, name))))
        waves.append(wave)
        placed.update(wave)
    return tuple(waves)
