"""Verify evidence: recompute its chain, its sums and its seal from the file alone, and compare it with the database."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from projects.mapping import codec
from runs import ledger, payload
from runs.engine.load import IN_TARGET
from runs.evidence.digests import canonical, records_digest, sha256
from runs.evidence.document import FORMAT, SECTIONS, Closing, Entry, Json, Opening, Totals, events, heading
from runs.ledger import Place
from runs.models import Chunk, ContentsDropped, Run

LARGEST = 1 << 30
"""Bytes; the evidence of a hundred million records is a few tens of megabytes."""


class EvidenceDiffers(Exception):
    """The evidence is not what it says it is; the message is one sentence that names the first place."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified. ``unproven`` are chunks whose records were written again since, or are not kept."""

    run: int
    chunks: int
    records: int
    seal: str
    unproven: int = 0


def verify(path: Path) -> tuple[Verified, Json]:
    """Recompute everything that the file alone can tell; raises EvidenceDiffers."""
    if path.stat().st_size > LARGEST:
        raise EvidenceDiffers(f"{path.name} is larger than any evidence; nothing was verified.")
    data = path.read_bytes()
    try:
        told = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise EvidenceDiffers(f"{path.name} is not JSON: {error}.") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise EvidenceDiffers(f"{path.name} is not evidence of the format {FORMAT}.")
    try:
        return _recomputed(told, data), told
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise EvidenceDiffers(
            f"{path.name} lacks a part that evidence has, or has one of another kind ({error})."
        ) from error


def _recomputed(told: Json, data: bytes) -> Verified:
    previous = sha256(told["run"])
    chunks = records = 0
    for each in told["objects"]:
        totals = Totals()
        for entry in each["chunks"]:
            place = f"chunk {entry['sequence']} of {each['source']} → {each['target']}"
            if not chunks and entry["previous"] != previous:
                raise EvidenceDiffers("The heading of the run was altered: the chain does not go on from its digest.")
            _check_entry(entry, previous, place)
            previous = entry["digest"]
            totals.add(entry)
            chunks, records = chunks + 1, records + entry["counts"]["records"]
        _check_object(each, totals)
    body = {name: part for name, part in told.items() if name != "seal"}
    if told["seal"] != sha256(body):
        raise EvidenceDiffers("The seal is not that of the file: something outside of its chunks was altered.")
    _check_spelling(told, data)
    return Verified(int(told["run"]["id"]), chunks, records, told["seal"])


def _check_entry(entry: Json, previous: str, place: str) -> None:
    if entry["previous"] != previous:
        raise EvidenceDiffers(f"The chain breaks before {place}: a chunk was taken out, put in or moved.")
    body = {name: part for name, part in entry.items() if name != "digest"}
    if entry["digest"] != sha256(body):
        raise EvidenceDiffers(f"The digest of {place} is not that of its contents.")


def _check_object(each: Json, totals: Totals) -> None:
    name = f"{each['source']} → {each['target']}"
    difference = next(_differences(each["totals"], totals.as_json(), ""), None)
    if difference:
        where, told, found = difference
        raise EvidenceDiffers(f"The totals of {name} say {told} for {where}, and its chunks add up to {found}.")
    for section in SECTIONS:
        if each["digests"][section] != sha256(each[section]):
            raise EvidenceDiffers(f"The {section} of {name} are not those their digest was made of.")


def _check_spelling(told: Json, data: bytes) -> None:
    spelled = canonical(told)
    if spelled != data:
        place = next((n for n, (one, other) in enumerate(zip(spelled, data, strict=False)) if one != other), None)
        where = min(len(spelled), len(data)) if place is None else place
        raise EvidenceDiffers(f"The file is not spelled canonically from byte {where} on: it was edited.")


def compare_with_database(told: Json) -> Verified:
    """Compare what the file tells with what the ledger tells now; raises EvidenceDiffers.

    What a chunk wrote is recomputed from its records' tracked rows, save where a later chunk wrote them again.
    """
    run = Run.objects.select_related("project__customer", "project__source", "project__target", "started_by")
    found = run.filter(pk=told["run"]["id"]).first()
    if found is None:
        raise EvidenceDiffers(f"The database has no run {told['run']['id']}.")
    _same("the run", told["run"], heading(found))
    chunks = records = unproven = 0
    objects = iter(told["objects"])
    each: Json = {}
    entries: Iterator[Json] = iter(())
    for event in events(found):
        match event:
            case Opening(children):
                each = next(objects, {})
                entries = iter(each.get("chunks", ()))
                if not each:
                    raise EvidenceDiffers("The database has an object more than the file.")
                _same(f"{each['source']} → {each['target']}", {"children": each["children"]}, {"children": children})
            case Entry(body):
                place = f"chunk {body['sequence']} of {each['source']} → {each['target']}"
                _same(place, next(entries, {}), body)
                unproven += not _proven(found, body, place)
                chunks, records = chunks + 1, records + body["counts"]["records"]
            case Closing(body):
                place = f"{each['source']} → {each['target']}"
                if next(entries, None) is not None:
                    raise EvidenceDiffers(f"The file has a chunk of {place} that the database does not have.")
                _same(place, {name: each[name] for name in body}, body)
    if next(objects, None) is not None:
        raise EvidenceDiffers("The file has an object more than the database.")
    return Verified(found.pk, chunks, records, told["seal"], unproven)


def _proven(run: Run, body: Json, place: str) -> bool:
    """Whether the tracked rows still tell what the chunk wrote; raises EvidenceDiffers where they tell otherwise."""
    if not body["written"]:
        return True
    chunk = Chunk.objects.select_related("step").get(pk=body["chunk"])
    mapping = codec.decode(chunk.step.mapping)
    try:
        frame = payload.unpack(chunk.payload, purpose=payload.PAYLOAD)
    except ContentsDropped:
        return False
    where = Place(run.project_id, chunk.step.object_id, run.pk, chunk.step_id, mapping.part)
    known = ledger.known(where, frame[mapping.identity].drop_nulls().unique())
    landed = known.filter(known["target_id"].is_not_null() & known["state"].is_in([str(state) for state in IN_TARGET]))
    if (known["touched_by"] > chunk.pk).any() or landed.height != body["verdict"]["verified_records"]:
        return False
    if records_digest(landed, ("source_id", "part", "key", "hash")) != body["written"]:
        raise EvidenceDiffers(f"The tracked records of {place} are not those the evidence was made of.")
    return True


def _same(place: str, told: Json, found: Json) -> None:
    for where, one, other in _differences(told, found, ""):
        raise EvidenceDiffers(
            f"{place[0].upper()}{place[1:]}: {where} is {one} in the file and {other} in the database."
        )


def _differences(told: Any, found: Any, where: str) -> Iterator[tuple[str, str, str]]:
    """Where two JSON values differ, in the order of the second: the path, and both values shortened."""
    if isinstance(told, dict) and isinstance(found, dict):
        for name in dict.fromkeys((*found, *told)):
            yield from _differences(told.get(name), found.get(name), f"{where}.{name}" if where else name)
    elif isinstance(told, list) and isinstance(found, list) and len(told) == len(found):
        for number, (one, other) in enumerate(zip(told, found, strict=True)):
            yield from _differences(one, other, f"{where}[{number}]")
    elif told != found:
        yield where, _short(told), _short(found)


def _short(value: Any) -> str:
    text = canonical(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"
