import django.db.models.deletion
from django.db import migrations, models

# Partitioned by project and then by the month of the run, so that erasing a project, or passing its retention
# date, is a dropped table. No foreign key: it would lock the chunks of all projects whenever a partition is made
# or dropped. Sealed bytes do not compress: PostgreSQL is kept from trying.
CONTENTS = """
CREATE TABLE runs_chunkcontent (
    chunk_id bigint NOT NULL,
    project_id bigint NOT NULL,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    payload bytea NOT NULL,
    before bytea,
    PRIMARY KEY (chunk_id, project_id, month)
) PARTITION BY LIST (project_id);
ALTER TABLE runs_chunkcontent ALTER COLUMN payload SET STORAGE EXTERNAL, ALTER COLUMN before SET STORAGE EXTERNAL;

ALTER TABLE runs_chunk
    ADD COLUMN project_id bigint,
    ADD COLUMN month date CHECK (extract(day FROM month) = 1),
    ADD COLUMN intended_at timestamptz;
UPDATE runs_chunk c
   SET project_id = r.project_id, month = date_trunc('month', r.created_at AT TIME ZONE 'UTC')::date,
       intended_at = CASE WHEN c.before IS NOT NULL THEN coalesce(c.loaded_at, c.staged_at) END
  FROM runs_run r WHERE r.id = c.run_id;
ALTER TABLE runs_chunk ALTER COLUMN project_id SET NOT NULL;

DO $$
DECLARE place record;
BEGIN
    FOR place IN SELECT DISTINCT project_id FROM runs_chunk LOOP
        EXECUTE format('CREATE TABLE runs_chunkcontent_p%s PARTITION OF runs_chunkcontent FOR VALUES IN (%s)
                        PARTITION BY LIST (month)', place.project_id, place.project_id);
    END LOOP;
    FOR place IN SELECT DISTINCT project_id, month FROM runs_chunk LOOP
        EXECUTE format('CREATE TABLE runs_chunkcontent_p%s_%s PARTITION OF runs_chunkcontent_p%s FOR VALUES IN (%L)',
                       place.project_id, to_char(place.month, 'YYYYMM'), place.project_id, place.month);
    END LOOP;
END $$;
INSERT INTO runs_chunkcontent (chunk_id, project_id, month, payload, before)
SELECT id, project_id, month, payload, before FROM runs_chunk;
ALTER TABLE runs_chunk DROP COLUMN payload, DROP COLUMN before;
"""
BACK = """
ALTER TABLE runs_chunk ADD COLUMN payload bytea, ADD COLUMN before bytea;
UPDATE runs_chunk c SET payload = k.payload, before = k.before FROM runs_chunkcontent k WHERE k.chunk_id = c.id;
UPDATE runs_chunk SET payload = '' WHERE payload IS NULL;
ALTER TABLE runs_chunk ALTER COLUMN payload SET NOT NULL,
    ALTER COLUMN payload SET STORAGE EXTERNAL, ALTER COLUMN before SET STORAGE EXTERNAL,
    DROP COLUMN project_id, DROP COLUMN month, DROP COLUMN intended_at;
DROP TABLE runs_chunkcontent;
"""


class Migration(migrations.Migration):
    dependencies = (
        ("projects", "0003_on_conflict"),
        ("runs", "0006_matching"),
    )

    operations = (
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(CONTENTS, BACK)],
            state_operations=[
                migrations.AddField(
                    model_name="chunk",
                    name="project",
                    field=models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="projects.project",
                    ),
                    preserve_default=False,
                ),
                migrations.AddField(
                    model_name="chunk",
                    name="month",
                    field=models.DateField(
                        help_text="The partition with its contents; null once that was dropped.", null=True
                    ),
                ),
                migrations.AddField(
                    model_name="chunk",
                    name="intended_at",
                    field=models.DateTimeField(help_text="When its before-images were committed.", null=True),
                ),
                migrations.RemoveField(model_name="chunk", name="payload"),
                migrations.RemoveField(model_name="chunk", name="before"),
                migrations.CreateModel(
                    name="ChunkContent",
                    fields=[
                        (
                            "chunk",
                            models.OneToOneField(
                                db_constraint=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                primary_key=True,
                                related_name="+",
                                serialize=False,
                                to="runs.chunk",
                            ),
                        ),
                        ("month", models.DateField()),
                        ("payload", models.BinaryField()),
                        ("before", models.BinaryField(null=True)),
                        (
                            "project",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="projects.project",
                            ),
                        ),
                    ],
                ),
            ],
        ),
    )
