"""Where an org's inventory, a record choice and the blueprint of a project are kept."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (
        ("orgs", "0001_initial"),
        ("projects", "0004_matching"),
    )

    operations = (
        migrations.AddField(
            "project",
            "blueprint",
            models.CharField(
                blank=True,
                db_default="",
                help_text="The packaged blueprint its objects were chosen from (see projects.blueprints).",
                max_length=60,
            ),
        ),
        migrations.AddField("project", "blueprint_version", models.PositiveSmallIntegerField(blank=True, null=True)),
        migrations.AddField(
            "projectobject",
            "selection",
            models.JSONField(
                blank=True,
                db_default={},
                default=dict,
                help_text="Which records are read; blank: all (see projects.selections).",
            ),
        ),
        migrations.AddField(
            "objectdefinition",
            "checked_at",
            models.DateTimeField(help_text="When the platform last said that this still holds.", null=True),
        ),
        migrations.AddField(
            "objectdefinition",
            "stamp",
            models.CharField(
                blank=True,
                db_default="",
                help_text=(
                    "The platform's own mark of this state of the entity, by which it is asked cheaply for a newer one."
                ),
                max_length=120,
            ),
        ),
        migrations.CreateModel(
            name="OrgInventory",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("content", models.JSONField()),
                ("taken_at", models.DateTimeField(auto_now=True)),
                (
                    "org",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="inventory", to="orgs.org"
                    ),
                ),
            ],
            options={"verbose_name_plural": "org inventories"},
        ),
    )
