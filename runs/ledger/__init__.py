"""The only writer of chunks, tracked records, match keys, findings and waivers, and of conflicts as runs find them.

Every write is bulk, and one transaction or the caller's; what a worker writes is fenced by its lease, which
``runs.leases`` moves. What people decide about conflicts is ``runs.conflicts``'s. The parts are used through this
module alone (an import-linter contract), so that ``ledger.record`` at a call says what is done:

- before sending: ``staging``, ``match_keys``, ``intents``, and ``insertions`` of records that carry no key;
- after it: ``outcomes``, ``undoing``, ``proofs``, ``findings``, and ``tracked``, where every record stands;
- what deltas add: ``watermarks``, ``sweeps``, ``conflicts``, ``waivers``;
- ``contents``: what chunks carry, by month, and how it is forgotten.
"""

from runs.ledger.conflicts import conflicts_of, kept_fields, put_conflicts
from runs.ledger.contents import (
    KeptMonth,
    delete_chunks,
    drop_contents,
    drop_partition,
    ensure_partition,
    forget_contents,
    keep,
    months,
)
from runs.ledger.insertions import (
    answer_insertion,
    begin_insertion,
    begun_insertions,
    close_insertion,
    created_untracked,
    forget_insertion,
    known_keys,
    known_targets,
    link,
    settle_insertions,
)
from runs.ledger.intents import begin, intend, note_job
from runs.ledger.match_keys import chunks_to_match, match_twins, register_match_keys
from runs.ledger.outcomes import record, rehearsed, relink_again
from runs.ledger.proofs import verified
from runs.ledger.shapes import (
    CONFLICT_COLUMNS,
    FINDING_COLUMNS,
    KNOWN_SCHEMA,
    OUTCOME_COLUMNS,
    UNDONE_COLUMNS,
    Counts,
    Mark,
    Place,
    Proof,
    Scope,
    Verdict,
)
from runs.ledger.staging import Part, part, stage, stage_again, stage_more
from runs.ledger.sweeps import GONE_FROM, forget_keys, keep_keys, move_cursor, unswept, unswept_count
from runs.ledger.tracked import (
    any_target_id,
    due,
    id_map,
    known,
    landed,
    landed_count,
    owners,
    standing,
    taken_out,
    touches,
    track,
    tracked_among,
    untracked,
)
from runs.ledger.undoing import give_up_waiting, undone
from runs.ledger.waivers import unwaive, waive
from runs.ledger.watermarks import FEED_SKEW, deletions_since, watermark, watermarks

__all__ = [
    "CONFLICT_COLUMNS",
    "FEED_SKEW",
    "FINDING_COLUMNS",
    "GONE_FROM",
    "KNOWN_SCHEMA",
    "OUTCOME_COLUMNS",
    "UNDONE_COLUMNS",
    "Counts",
    "KeptMonth",
    "Mark",
    "Part",
    "Place",
    "Proof",
    "Scope",
    "Verdict",
    "answer_insertion",
    "any_target_id",
    "begin",
    "begin_insertion",
    "begun_insertions",
    "chunks_to_match",
    "close_insertion",
    "conflicts_of",
    "created_untracked",
    "delete_chunks",
    "deletions_since",
    "drop_contents",
    "drop_partition",
    "due",
    "ensure_partition",
    "forget_contents",
    "forget_insertion",
    "forget_keys",
    "give_up_waiting",
    "id_map",
    "intend",
    "keep",
    "keep_keys",
    "kept_fields",
    "known",
    "known_keys",
    "known_targets",
    "landed",
    "landed_count",
    "link",
    "match_twins",
    "months",
    "move_cursor",
    "note_job",
    "owners",
    "part",
    "put_conflicts",
    "record",
    "register_match_keys",
    "rehearsed",
    "relink_again",
    "settle_insertions",
    "stage",
    "stage_again",
    "stage_more",
    "standing",
    "taken_out",
    "touches",
    "track",
    "tracked_among",
    "undone",
    "unswept",
    "unswept_count",
    "untracked",
    "unwaive",
    "verified",
    "waive",
    "watermark",
    "watermarks",
]
