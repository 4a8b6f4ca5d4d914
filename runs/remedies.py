"""Why a record is where it is, and what to do about it: the probable cause and the fix of every code there is.

A code is what groups records that failed alike: a rule of the mapping, a verdict of the engine, or the target's own
word. ``remedy`` answers for all of them; a test goes through the code base and fails for one that it does not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import psycopg

from connectors.clients.postgresql_errors import condition
from connectors.clients.salesforce_refusals import REFUSALS
from projects.mapping.equality import LABELS, EqualityRule


@dataclass(frozen=True, slots=True)
class Remedy:
    """``cause`` and ``fix`` are one sentence each for staff. ``again`` says that trying again is the next step once
    the fix is made; it is not where the records are not due, or where a person must decide instead."""

    cause: str
    fix: str
    again: bool = True


_MAPPING_FIX = "Correct the value in the source, or let the mapping turn it into one the target takes; then try again."
_TWIN = "Merge or correct the records so that each has a key of its own, then try again."

MAPPING: Mapping[str, Remedy] = {
    "required_missing": Remedy(
        "The target requires a value in this field, and the source has none.",
        "Fill it in the source, or give the field a default in the mapping; then try again.",
    ),
    "too_long": Remedy(
        "The text is longer than the target's field.",
        "Shorten it in the source, cut it in the mapping, or have the target's field made longer; then try again.",
    ),
    "unknown_value": Remedy(
        "The value has no counterpart: it is not in the value map, or not among those the target's picklist allows.",
        "Add the value to the value map, or to the target's picklist; then try again.",
    ),
    "not_a_number": Remedy("The text is not a number, or one that the field cannot hold.", _MAPPING_FIX),
    "not_an_integer": Remedy("The number has decimals, and the target's field has none.", _MAPPING_FIX),
    "out_of_range": Remedy("The number or date is beyond what the target's field can hold.", _MAPPING_FIX),
    "not_a_boolean": Remedy("The text is neither true nor false.", _MAPPING_FIX),
    "not_a_date": Remedy("The text is not a date, or one in a format nobody told us.", _MAPPING_FIX),
    "not_a_datetime": Remedy("The text is not a date with a time.", _MAPPING_FIX),
    "not_a_time": Remedy("The text is not a time of day.", _MAPPING_FIX),
    "not_a_uuid": Remedy("The text is not a UUID.", _MAPPING_FIX),
    "not_json": Remedy("The text is not valid JSON.", _MAPPING_FIX),
    "formula_cast": Remedy(
        "The mapping's formula turns a text into a number or date, and this record's text is none.",
        "Correct the value in the source, or let the formula deal with such texts; then try again.",
    ),
    "nul_character": Remedy(
        "The text holds a NUL character (code 0), which databases do not store; it often comes from a faulty import.",
        "Remove it in the source, or let the mapping remove it; then try again.",
    ),
    "rounded": Remedy(
        "The number has more decimals than the target's field; it was rounded.",
        "Nothing, if the difference does not matter; else have the target's field given more decimals.",
        again=False,
    ),
    "time_assumed": Remedy(
        "The source gives a date without a time; midnight UTC was taken.",
        "Nothing, if that is right; else let the mapping add the time.",
        again=False,
    ),
    "time_dropped": Remedy(
        "The source gives a time too, and the target's field keeps only the date.",
        "Nothing, if the time does not matter; else map it to a field that keeps times.",
        again=False,
    ),
    "blank_identity": Remedy(
        "The record has no id in the source, so that it could not be found again.",
        "Give it one in the source, or choose another field as the object's identity; then start a load.",
        again=False,
    ),
    "unresolved_reference": Remedy(
        "The record's parent is not in the target, and the reference's policy is to reject.",
        "Bring the parent first, or choose another policy for the reference; then try again.",
    ),
    "reference_dropped": Remedy(
        "The record's parent is not in the target yet; the field is blank until it is.",
        "Nothing: it is filled by itself once the parent has come.",
        again=False,
    ),
    "reference_kept": Remedy(
        "The record's parent is not in the target yet; the field keeps the source's value until it is.",
        "Nothing: it is replaced by itself once the parent has come.",
        again=False,
    ),
    "ambiguous_reference": Remedy(
        "Several records answer to the name or key by which this record refers to its parent.",
        "Make the parents' names different, or let the mapping refer by id; then try again.",
    ),
}

ENGINE: Mapping[str, Remedy] = {
    "waiting": Remedy(
        "The record it refers to is not in the target: it was rejected or skipped, or has not come from the source.",
        "Bring the parent first (the sentence names it); its children then follow by themselves with the next try.",
    ),
    "skipped": Remedy(
        "The object's filter leaves this record out, or it came again on the same page.",
        "Nothing, if that is meant; else change the filter on the object, then start a load.",
        again=False,
    ),
    "ambiguous_key": Remedy(
        "The key by which the target's record is found is blank, or several source records have the same.", _TWIN
    ),
    "ambiguous_match": Remedy(
        "Several records, here or in the target, have the same match key; none of them may simply win.", _TWIN
    ),
    "blank_match_key": Remedy(
        "A field of the match key is blank, so that it cannot be told whether the target has the record already.",
        "Fill the field in the source, or match by other fields; then try again.",
    ),
    "edited": Remedy(
        "Somebody changed the record in the target since we wrote it; their change is kept.",
        "Look at both values on the record's page, and decide which one is to stand.",
        again=False,
    ),
    "recreated": Remedy(
        "We deleted the record with the source, and somebody created it again in the target since.",
        "Look at it in the target; it is left as it is.",
        again=False,
    ),
    "written_later": Remedy(
        "A later run wrote the record again, so that an earlier run's values cannot return.",
        "Roll the later run back first, or take back all that was written of the record.",
        again=False,
    ),
    "gone": Remedy(
        "Somebody deleted the record in the target since we wrote it.",
        "Nothing: there is nothing left to take back. A load brings it again.",
        again=False,
    ),
    "content_gone": Remedy(
        "The file, or a picture of the text, was deleted after its record was read, so that there is nothing to bring.",
        "Nothing, unless it should not have gone: then restore it in the source and start a load.",
    ),
    "content_differs": Remedy(
        "The bytes of the file that arrived are not those announced: the connection, or somebody, changed them.",
        "Try again. If it recurs, download the file from the source by hand and compare it.",
    ),
    "no_bulk_file": Remedy(
        "The object has no external id, so that its records are created by bulk jobs only, and a text of this one does "
        "not fit into a bulk file.",
        "Shorten the text in the source, or have an external id created for the object; then try again.",
    ),
    "earlier_version_missing": Remedy(
        "An earlier version of the same file was refused, and a version put in its place would change their order.",
        "Settle what refused the earlier version; then try again: both come, in their order.",
    ),
    "no_version": Remedy(
        "A document is made with its first version, and none of its versions has reached the target.",
        "Settle why its versions were refused; then try again.",
    ),
    "other_versions": Remedy(
        "The file has versions that were not brought by us, and the target deletes whole files only.",
        "Delete the version there by hand, or leave it.",
        again=False,
    ),
    "image_left": Remedy(
        "The text shows an image that is kept by the source org and could not be taken along: the target has no place "
        "for pictures, or the image was pasted from another record, or is none of the text's own.",
        "Put the image into the target's text by hand before the source org is switched off.",
        again=False,
    ),
    "no_counterpart": Remedy(
        "The person or queue that the record names has no counterpart in the target, or none that is active there.",
        "Enter whom it should be in the project's map of owners or users, then start a load.",
        again=False,
    ),
    "gone_from_source": Remedy(
        "Somebody deleted the record in the source.",
        "Nothing, unless it should not have gone: then restore it in the source, and the next delta brings it.",
        again=False,
    ),
    "deleted_with_source": Remedy(
        "Somebody deleted the record in the source, and its object mirrors deletions.",
        "Nothing. To have it back, roll back the run that deleted it.",
        again=False,
    ),
    "not_deleted": Remedy(
        "The record is gone from the source, but other records in the target point at it.",
        "Remove or change those records in the target; the next delta deletes it.",
        again=False,
    ),
    "still_referenced": Remedy(
        "Other records in the target point at this one, and they are not ours to delete.",
        "Remove or change those records in the target, then roll back again: only what is left is done.",
        again=False,
    ),
    "not_restored": Remedy(
        "The target refused the earlier values, often by a rule that was added or tightened since.",
        "Have the rule changed or bypassed, then roll back again: only what is left is done.",
        again=False,
    ),
    "not_adopted": Remedy(
        "The record of the target that matched went away, or got somebody else's key, before it could be taken over.",
        "Look at it in the target; then try again, and it is matched anew.",
    ),
    "key_left": Remedy(
        "The record was there before us without our key, and the target did not let go of the key.",
        "Clear the key field of the record in the target.",
        again=False,
    ),
    "still_there": Remedy(
        "The record was deleted, and the target gave it back on reading: another system may have created it again.",
        "Look at it in the target, and stop what creates it; then roll back again.",
        again=False,
    ),
    "image_dropped": Remedy(
        "What the target held before was kept only until the project's retention time had passed.",
        "Correct the record in the target by hand; a longer retention time helps the next run.",
        again=False,
    ),
    "key_changed": Remedy(
        "The object was written by another key or to another place at first, so that its earlier values are not known "
        "under the key it has now.",
        "Roll back the later run first, then the earlier one.",
        again=False,
    ),
    "missing": Remedy(
        "The record was loaded, and the target has it no more on reading back: a rule of its own, or somebody, removed "
        "it at once.",
        "Look for automation in the target that deletes or merges records, then start a load.",
        again=False,
    ),
    "doubled": Remedy(
        "The target holds several records under one key: its key field is not unique.",
        "Have the field made unique in the target, and remove the superfluous records there.",
        again=False,
    ),
    "not_written": Remedy(
        "The target took the record with the others and did not keep it: a trigger or rule of its table left it out.",
        "Have the trigger or rule changed or bypassed for the migration, then try again.",
    ),
}

TARGET: Mapping[str, Remedy] = {
    "DUPLICATE_EXTERNAL_ID": Remedy(
        "Several records, here or in the org, have the same external id; capitals may be all that differs.", _TWIN
    ),
    "FIELD_NOT_UPDATABLE": Remedy(
        "A field can be set only when a record is created, or the migration user may not change it.",
        "Take the field out of the mapping, or give the migration user the right; then try again.",
    ),
    "lock_not_available": Remedy(
        "Somebody else held the record, or one it points at, for longer than we wait.",
        "Try again when the other work on the target is done.",
    ),
    "deadlock_detected": Remedy(
        "Somebody else held the record, or one it points at, for longer than we wait.",
        "Try again when the other work on the target is done.",
    ),
    "unique_violation": Remedy(
        "Another row has a value that must be unique in the target's table, often one that was there before us.",
        "Find that row by the value in the sentence, merge the two or change the value; then try again.",
    ),
    "foreign_key_violation": Remedy(
        "The row refers to one that is not in the target's table.",
        "Bring the parent first, or correct the reference; then try again.",
    ),
    "not_null_violation": Remedy(
        "The target's column requires a value, and the mapping gives none.",
        "Map the field, give it a default, or fill it in the source; then try again.",
    ),
    "check_violation": Remedy(
        "A check of the target's table does not allow these values; the sentence names the check.",
        "Correct the values in the source or in the mapping, or have the check changed; then try again.",
    ),
    "exclusion_violation": Remedy(
        "The row overlaps with another where the target's table allows only one (a period, a place).",
        "Correct the values of one of the two; then try again.",
    ),
    "string_data_right_truncation": Remedy(
        "A text is longer than the target's column.",
        "Shorten it in the source, cut it in the mapping, or have the column made longer; then try again.",
    ),
    "numeric_value_out_of_range": Remedy("A number is larger than the target's column can hold.", _MAPPING_FIX),
    "untranslatable_character": Remedy(
        "A text holds a NUL character (code 0), which PostgreSQL cannot store.",
        "Remove it in the source, or let the mapping remove it; then try again.",
    ),
    "raise_exception": Remedy(
        "A trigger of the target's database refused the row; the sentence has its words.",
        "Correct the record as the trigger asks, or have the trigger bypassed for the migration; then try again.",
    ),
}

_BY_SQL_CLASS: Mapping[str, Remedy] = {
    "21": Remedy("A rule of the target's database met several rows where it wants one.", TARGET["raise_exception"].fix),
    "22": Remedy("The target's column cannot hold a value of the record.", _MAPPING_FIX),
    "23": Remedy(
        "A constraint of the target's table does not allow these values; the sentence names it.",
        TARGET["check_violation"].fix,
    ),
    "27": Remedy("A trigger of the target's table changed what was being written.", TARGET["raise_exception"].fix),
    "44": Remedy("The target is a view that does not show such rows.", TARGET["check_violation"].fix),
}
"""By the first two characters of the SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html"""

SQLSTATE_CHARACTERS = 5

UNKNOWN = Remedy(
    "The target refused the record in words of its own; they stand in the sentence.",
    "Read the sentence, correct the record or have the target's rule changed; then try again.",
)


def remedy(code: str) -> Remedy:
    """The probable cause and the fix; ``UNKNOWN`` for a word that only the customer's own target has."""
    for known in (MAPPING, ENGINE, TARGET):
        if code in known:
            return known[code]
    if code in REFUSALS:
        return Remedy(REFUSALS[code].what, REFUSALS[code].advice)
    if code.startswith("mismatch_"):
        return _mismatch(code.removeprefix("mismatch_"))
    return _BY_SQL_CLASS.get(_sql_class(code), UNKNOWN)


def _mismatch(rule: str) -> Remedy:
    """A field read back is not what was sent, although these rules would let it pass."""
    named = [each for each in EqualityRule if each == rule and each is not EqualityRule.EXACT]
    looked = f" They differ even {LABELS[named[0]]}." if named else ""
    return Remedy(
        f"The target holds another value than was sent: automation there, or somebody, changed it at once.{looked}",
        "Look for automation that writes this field; if the target only spells the value differently, name a rule of "
        "equality for the field in the mapping.",
        again=False,
    )


def _sql_class(code: str) -> str:
    """The class of a PostgreSQL condition by its name, as ``unique_violation`` is of class 23; blank for others."""
    state = _sql_states().get(code, code)
    return state[:2] if len(state) == SQLSTATE_CHARACTERS else ""


@cache
def _sql_states() -> Mapping[str, str]:
    kinds = [kind for kind in vars(psycopg.errors).values() if isinstance(kind, type)]
    return {condition(kind()): kind.sqlstate for kind in kinds if issubclass(kind, psycopg.Error) and kind.sqlstate}
