"""What happens to a campaign's systems between its runs: by chance, and to records chosen so that it is known what is
right."""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from migration_factory.torment.expectation import Expectation, State
from migration_factory.torment.scene import Entities, Entity, Row, Rows, another

FEW = 4
"""Of a hundred records, how many people edit or delete at a time."""


@dataclass
class Changes:
    """Makes the source as it will be. ``makes`` are the entities of which new rows come to be."""

    entities: Entities
    makes: Collection[str]
    chance: random.Random
    numbers: dict[str, int]
    """The number of the next new record, by entity."""

    def grown(self, rows: Rows, known: Expectation) -> dict[str, dict[str, Row]]:
        """The source later on: a few percent changed, some moved, new ones come."""
        now = {entity: dict(of_it) for entity, of_it in rows.items()}
        for name, entity in self.entities.items():
            for key in self._some(known.plain(name), 15):
                now[name][key] = entity.touched(self.chance, now[name][key], now)
        for name in self.makes:
            self._add(now, self.entities[name], max(1, len(rows[name]) // 50))
        return now

    def _add(self, now: dict[str, dict[str, Row]], entity: Entity, count: int) -> list[str]:
        made = []
        for _ in range(count):
            number = self.numbers[entity.name]
            self.numbers[entity.name] += 1
            key = f"{entity.prefix}{number}"
            now[entity.name][key] = entity.new(self.chance, number, now)
            made.append(key)
        return made

    def spoilt(self, rows: Rows, known: Expectation) -> dict[str, dict[str, Row]]:
        """Records that the target refuses: some that it has already, and new ones that others refer to."""
        now = {entity: dict(of_it) for entity, of_it in rows.items()}
        for name, entity in self.entities.items():
            if not (entity.refusing or entity.spoils):
                continue
            for key in self._some(known.plain(name), 60):
                now[name][key] = entity.spoilt(self.chance, now[name][key])
            if name in self.makes:
                for key in self._add(now, entity, max(2, len(rows[name]) // 200)):
                    now[name][key] = entity.spoilt(self.chance, now[name][key])
                    self._refer(now, known, name, key)
        return now

    def _refer(self, now: dict[str, dict[str, Row]], known: Expectation, parent: str, key: str) -> None:
        """Let a record or two refer to it, which then have to wait."""
        for name, entity in self.entities.items():
            links = [each.name for each in entity.references if each.parent == parent and not each.required]
            if links:
                for child in self._some(known.plain(name), 5_000):
                    now[name][child] = {**now[name][child], self.chance.choice(links): key}

    def mended(self, rows: Rows, which: Collection[tuple[str, str]]) -> dict[str, dict[str, Row]]:
        """The source with these records as they should be."""
        now = {entity: dict(of_it) for entity, of_it in rows.items()}
        for name, key in which:
            if key in now[name]:
                now[name][key] = self.entities[name].mended(self.chance, now[name][key], now)
        return now

    def doomed(self, rows: Rows, known: Expectation, *, one_in: int) -> dict[str, list[str]]:
        """Records to delete in the source: plain ones that nothing but plain records refers to."""
        clung = {name: self._clung_to(known, name) for name in self.entities}
        return {
            name: self._some([key for key in known.plain(name) if key not in clung[name]], one_in)
            for name in self.entities
            if rows[name]
        }

    def _clung_to(self, known: Expectation, parent: str) -> set[str]:
        """What rows of the target refer to that may not change in the next run, or have to refer to something."""
        clinging = set()
        for name, entity in self.entities.items():
            for each in known.known[name].values():
                for field in entity.references:
                    if field.parent == parent and each.held is not None and (field.required or not each.plain):
                        clinging.add(str(each.held[field.name]))
        return clinging

    def without(self, rows: Rows, doomed: Mapping[str, Collection[str]]) -> dict[str, dict[str, Row]]:
        """The source without them; what referred to one refers to nothing, or to another, as it must."""
        all_doomed = {name: set(keys) for name, keys in doomed.items()}
        now = {
            name: {key: row for key, row in of_it.items() if key not in all_doomed.get(name, ())}
            for name, of_it in rows.items()
        }
        for name, entity in self.entities.items():
            for field in entity.references:
                lost = all_doomed.get(field.parent, set())
                left = sorted(now[field.parent]) if lost else []
                for key, row in now[name].items():
                    if row[field.name] in lost:
                        other = self.chance.choice(left)
                        now[name][key] = {
                            **row,
                            field.name: other if field.required else self.chance.choice((None, other)),
                        }
        return now

    def edits(self, known: Expectation, among: Mapping[str, Collection[str]]) -> dict[str, dict[str, Row]]:
        """What people change in the target: entity → key → fields."""
        made: dict[str, dict[str, Row]] = {}
        for name, entity in self.entities.items():
            if not entity.edited:
                continue
            made[name] = {}
            for key in self._some([key for key in among[name] if key in known.known[name]], 100 // FEW):
                held = known.known[name][key].held or {}
                fields = self.chance.sample(sorted(entity.edited), self.chance.choice((1, 1, len(entity.edited))))
                made[name][key] = {each: another(self.chance, entity.field(each), held[each]) for each in fields}
        return made

    def crossed(self, rows: Rows, edits: Mapping[str, Mapping[str, Row]]) -> dict[str, dict[str, Row]]:
        """The source after some of the records that people edited changed there, too: elsewhere, in the same field,
        or to the very same value."""
        now = {entity: dict(of_it) for entity, of_it in rows.items()}
        for name, of_it in edits.items():
            entity = self.entities[name]
            for key, values in of_it.items():
                row, edited = now[name][key], self.chance.choice(sorted(values))
                match self.chance.choice(("not", "elsewhere", "same field", "same value", "all")):
                    case "elsewhere":
                        now[name][key] = self._elsewhere(entity, row, values)
                    case "same field":
                        now[name][key] = {**row, edited: another(self.chance, entity.field(edited), values[edited])}
                    case "same value":
                        now[name][key] = {**row, edited: values[edited]}
                    case "all":
                        others = {each: another(self.chance, entity.field(each), row[each]) for each in entity.edited}
                        now[name][key] = {**row, **others}
        return now

    def _elsewhere(self, entity: Entity, row: Row, values: Row) -> Row:
        others = sorted(set(entity.edited) - set(values))
        if not others:
            return row
        field = self.chance.choice(others)
        return {**row, field: another(self.chance, entity.field(field), row[field])}

    def agreed(self, rows: Rows, known: Expectation) -> dict[str, dict[str, Row]]:
        """The source with what people entered in the target, so that both say the same."""
        now = {entity: dict(of_it) for entity, of_it in rows.items()}
        for name, entity in self.entities.items():
            references = {each.name for each in entity.references}
            for key, row in now[name].items():
                each = known.known[name][key]
                if each.held is not None and each.state in {State.LOADED, State.CONFLICT} and each.held != each.wrote:
                    theirs = {field: each.held[field] for field in entity.edited if field not in references}
                    now[name][key] = {**row, **theirs}
                elif each.kept or each.state is State.CONFLICT:
                    now[name][key] = {**row, **{field: (each.held or row)[field] for field in entity.edited}}
        return now

    def several(self, keys: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """About two thirds of these."""
        return self.chance.sample(sorted(keys), len(keys) * 2 // 3)

    def _some(self, keys: Collection[str], one_in: int) -> list[str]:
        """So many of these, at least one where there is one; in their order by chance."""
        count = min(len(keys), max(1, len(keys) // one_in))
        return self.chance.sample(sorted(keys), count)
