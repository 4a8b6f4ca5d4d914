"""What the evidence of a run says, and how it is spelled: one canonical JSON file, chunk by chunk, with its seal.

The file is an object of ``format``, ``objects``, ``run`` and ``seal`` in the spelling of RFC 8785. Every chunk
has the ``digest`` of itself with the digest before it (``previous``); the first one goes on from the digest of
``run``. An object's ``totals`` are what its chunks add up to, its ``digests`` are those of its other parts, and
``seal`` is the SHA-256 of the file without it. Nothing in it depends on when it is made.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runs.choices import OUTCOMES, UNDOINGS
from runs.evidence.digests import added, canonical, sha256
from runs.models import Chunk, ChunkProof, Finding, Run, Step, StepProof

FORMAT = "migration-factory-evidence/1"
COUNTED = ("records", *dict.fromkeys((*OUTCOMES, *UNDOINGS)))
VERDICT = ("verified_records", "verified_fields", "missing", "mismatches")
SECTIONS = ("children", "extras", "mismatches", "orphans")
"""Parts of an object that its chunks do not add up to; each has a digest of its own."""
MISMATCHES_NAMED = 1_000
BATCH = 200
"""Chunks read from the database at once."""

Json = dict[str, Any]


@dataclass(slots=True)
class Totals:
    """What the chunks of one object add up to."""

    chunks: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    equal: dict[tuple[str, str], int] = field(default_factory=dict)
    sums: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, entry: Mapping[str, Any]) -> None:
        self.chunks += 1
        for name, count in {**entry["counts"], **entry["verdict"]}.items():
            self.counts[name] = self.counts.get(name, 0) + count
        for item in entry["equal"]:
            place = item["field"], item["rule"]
            self.equal[place] = self.equal.get(place, 0) + item["values"]
        for item in entry["sums"]:
            demanded, held = self.sums.get(item["field"], ("0", "0"))
            self.sums[item["field"]] = added((demanded, item["demanded"])), added((held, item["held"]))

    def as_json(self) -> Json:
        return {
            "chunks": self.chunks,
            "counts": self.counts,
            "equal": [{"field": name, "rule": rule, "values": n} for (name, rule), n in sorted(self.equal.items())],
            "sums": [{"field": name, "demanded": d, "held": h} for name, (d, h) in sorted(self.sums.items())],
        }


@dataclass(frozen=True, slots=True)
class Opening:
    """An object begins; ``children`` stand before its chunks."""

    children: list[Json] | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One chunk."""

    body: Json


@dataclass(frozen=True, slots=True)
class Closing:
    """Everything else of the object, whose keys come after ``chunks``."""

    body: Json


Event = Opening | Entry | Closing


def heading(run: Run) -> Json:
    """Whose run it was, and how it ended."""
    project = run.project
    return {
        "id": run.pk,
        "kind": run.kind,
        "state": run.state,
        "reason": run.reason,
        "undoes": run.undoes_id,
        "customer": project.customer.name,
        "project": project.name,
        "source": _system(project.source),
        "target": _system(project.target),
        "started_by": run.started_by.get_username() if run.started_by else None,
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.finished_at),
        "mapping_digest": run.mapping_digest,
    }


def events(run: Run) -> Iterator[Event]:
    """The objects of the run in their order, chunk by chunk; memory does not grow with the run."""
    previous = sha256(heading(run))
    for step in run.steps.order_by("position"):
        proof = StepProof.objects.filter(step=step).first()
        totals = Totals()
        yield Opening(proof.children if proof else None)
        for chunk in _chunks(step):
            entry = _entry(chunk, previous)
            previous = entry["digest"]
            totals.add(entry)
            yield Entry(entry)
        yield Closing(_closing(step, proof, totals))


def pieces(run: Run) -> Iterator[bytes]:
    """The file, piece by piece."""
    return spelled(heading(run), events(run))


def spelled(head: Json, told: Iterator[Event]) -> Iterator[bytes]:
    """The file that says this, sealed."""
    seal = hashlib.sha256()
    for piece in _body(head, told):
        seal.update(piece)
        yield piece
    seal.update(b"}")
    yield b',"seal":' + canonical(seal.hexdigest()) + b"}"


def overview(run: Run) -> Json:
    """The file without its chunks, for documents made for people; ``seal`` is that of the whole file."""
    objects: list[Json] = []

    def kept() -> Iterator[Event]:
        for event in events(run):
            match event:
                case Opening(children):
                    objects.append({"children": children})
                case Closing(body):
                    objects[-1].update(body)
            yield event

    head = heading(run)
    *_, last = spelled(head, kept())
    return {"format": FORMAT, "run": head, "objects": objects, "seal": last[len(b',"seal":"') : -2].decode()}


def _body(head: Json, told: Iterator[Event]) -> Iterator[bytes]:
    yield b'{"format":' + canonical(FORMAT) + b',"objects":['
    objects = chunks = 0
    for event in told:
        match event:
            case Opening(children):
                yield (b"," if objects else b"") + b'{"children":' + canonical(children) + b',"chunks":['
                objects, chunks = objects + 1, 0
            case Entry(body):
                yield (b"," if chunks else b"") + canonical(body)
                chunks += 1
            case Closing(body):
                yield b"]," + canonical(body)[1:]
    yield b'],"run":' + canonical(head)


def _chunks(step: Step) -> Iterator[Chunk]:
    chunks = Chunk.objects.filter(step=step).order_by("sequence").select_related("proof")
    return chunks.defer("proof__children").iterator(chunk_size=BATCH)


def _entry(chunk: Chunk, previous: str) -> Json:
    proof: ChunkProof | None = getattr(chunk, "proof", None)
    body: Json = {
        "chunk": chunk.pk,
        "sequence": chunk.sequence,
        "state": chunk.state,
        "counts": {name: getattr(chunk, name) for name in COUNTED},
        "verdict": {name: getattr(chunk, name) for name in VERDICT},
        "equal": _equal(proof.equal) if proof else [],
        "sums": _sums(proof.sums) if proof else [],
        "written": proof.written if proof else "",
        "read_back": proof.read_back if proof else "",
        "previous": previous,
    }
    return {**body, "digest": sha256(body)}


def _equal(stored: Mapping[str, Mapping[str, int]]) -> list[Json]:
    return [
        {"field": name, "rule": rule, "values": values}
        for name, tally in sorted(stored.items())
        for rule, values in sorted(tally.items())
    ]


def _sums(stored: Mapping[str, tuple[str, str]]) -> list[Json]:
    return [{"field": name, "demanded": sent, "held": held} for name, (sent, held) in sorted(stored.items())]


def _closing(step: Step, proof: StepProof | None, totals: Totals) -> Json:
    sections = {
        "extras": proof.extras if proof else None,
        "mismatches": _mismatches(step),
        "orphans": proof.orphans if proof else None,
    }
    return {
        **sections,
        "digests": {"children": sha256(proof.children if proof else None)}
        | {name: sha256(section) for name, section in sections.items()},
        "mapping": sha256(step.mapping),
        "position": step.position,
        "source": step.mapping["source_entity"],
        "target": step.mapping["target_entity"],
        "totals": totals.as_json(),
    }


def _mismatches(step: Step) -> Json:
    """What was found on reading back, and the first of it; the messages quote records."""
    found = Finding.objects.filter(project=step.run.project_id, step=step, phase=Finding.Phase.VERIFY)
    names = ("source_id", "part", "field", "rule", "message")
    return {"count": found.count(), "named": list(found.order_by("chunk_id", "pk").values(*names)[:MISMATCHES_NAMED])}


def _system(org: Any) -> Json:
    return {"name": org.name, "platform": org.platform}


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
