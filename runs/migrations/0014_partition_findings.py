import django.db.models.deletion
from django.db import migrations, models

# Findings and match keys grow with the records, so that they are partitioned by project, too: erasing one is a dropped
# table. No foreign keys: they would lock the runs and chunks of all projects whenever a partition is made or dropped.
PARTITIONED = """
ALTER TABLE runs_finding RENAME TO runs_finding_plain;
CREATE SEQUENCE runs_finding_ids;
CREATE TABLE runs_finding (
    project_id bigint NOT NULL,
    id bigint NOT NULL DEFAULT nextval('runs_finding_ids'),
    run_id bigint NOT NULL,
    step_id bigint NOT NULL,
    chunk_id bigint NOT NULL,
    phase varchar(6) NOT NULL,
    severity varchar(5) NOT NULL,
    source_id text NOT NULL,
    part text NOT NULL DEFAULT '',
    field text NOT NULL DEFAULT '',
    value text,
    rule text NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (project_id, id)
) PARTITION BY LIST (project_id);
ALTER SEQUENCE runs_finding_ids OWNED BY runs_finding.id;

ALTER TABLE runs_matchkey RENAME TO runs_matchkey_plain;
CREATE TABLE runs_matchkey (
    project_id bigint NOT NULL,
    object_id bigint NOT NULL,
    source_id text NOT NULL,
    part text NOT NULL DEFAULT '',
    hash uuid NOT NULL,
    step_id bigint NOT NULL,
    PRIMARY KEY (project_id, object_id, source_id, part)
) PARTITION BY LIST (project_id);

DO $$
DECLARE place record;
BEGIN
    FOR place IN SELECT id FROM projects_project LOOP
        EXECUTE format('CREATE TABLE runs_finding_p%s PARTITION OF runs_finding FOR VALUES IN (%s)',
                       place.id, place.id);
        EXECUTE format('CREATE TABLE runs_matchkey_p%s PARTITION OF runs_matchkey FOR VALUES IN (%s)',
                       place.id, place.id);
    END LOOP;
END $$;

INSERT INTO runs_finding (project_id, id, run_id, step_id, chunk_id, phase, severity, source_id, part, field, value,
                          rule, message)
SELECT r.project_id, f.id, f.run_id, f.step_id, f.chunk_id, f.phase, f.severity, f.source_id, f.part, f.field, f.value,
       f.rule, f.message
  FROM runs_finding_plain f JOIN runs_run r ON r.id = f.run_id;
SELECT setval('runs_finding_ids', coalesce((SELECT max(id) FROM runs_finding), 0) + 1, false);
INSERT INTO runs_matchkey (project_id, object_id, source_id, part, hash, step_id)
SELECT project_id, object_id, source_id, part, hash, step_id FROM runs_matchkey_plain;
DROP TABLE runs_finding_plain, runs_matchkey_plain;

CREATE INDEX finding_chunk ON runs_finding (chunk_id);
CREATE INDEX finding_causes ON runs_finding (run_id, severity, rule, field);
CREATE INDEX finding_record ON runs_finding (step_id, source_id);
CREATE INDEX match_key_of_object ON runs_matchkey (object_id, hash);
"""


def unconstrained(to: str, **more: object) -> models.ForeignKey:
    return models.ForeignKey(
        db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to=to, **more
    )


class Migration(migrations.Migration):
    dependencies = (("runs", "0013_no_waiting_mark"),)

    operations = (
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(PARTITIONED)],
            state_operations=[
                migrations.AddField(
                    "finding", "project", unconstrained("projects.project", db_index=False), preserve_default=False
                ),
                migrations.AlterField("finding", "run", unconstrained("runs.run", db_index=False)),
                migrations.AlterField("finding", "step", unconstrained("runs.step", db_index=False)),
                migrations.AlterField("finding", "chunk", unconstrained("runs.chunk")),
                migrations.AlterField("matchkey", "project", unconstrained("projects.project", db_index=False)),
            ],
        ),
    )
