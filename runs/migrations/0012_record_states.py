from django.db import migrations

# The table is not Django's (see 0001): its checks are changed by hand.
RECORD_STATES = """
ALTER TABLE runs_trackedrecord
    DROP CONSTRAINT runs_trackedrecord_state_check,
    ADD CONSTRAINT runs_trackedrecord_state_check CHECK (state IN (
        'loaded', 'unchanged', 'deferred', 'rejected', 'skipped', 'conflict', 'rolled_back', 'waived', 'gone',
        'deleted')),
    DROP CONSTRAINT trouble_has_reason,
    ADD CONSTRAINT trouble_has_reason CHECK (
        state NOT IN ('deferred', 'rejected', 'skipped', 'conflict', 'waived', 'gone', 'deleted') OR reason <> '');
"""


class Migration(migrations.Migration):
    dependencies = (("runs", "0011_dry_run"),)
    operations = (migrations.RunSQL(RECORD_STATES, migrations.RunSQL.noop),)
