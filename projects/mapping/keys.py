"""What can be said of a mapping's keys without looking at records."""

from projects.mapping.specification import Field, ObjectMapping, Template


def key_prefix(mapping: ObjectMapping) -> str:
    """The text all keys of this mapping begin with (``salesforce:``); blank where none is certain."""
    target = {rule.target: rule.rule for rule in mapping.to_target}
    universal = {rule.target: rule.rule for rule in mapping.to_universal}
    rule = target.get(mapping.key)
    if isinstance(rule, Field) and rule.name in universal:
        rule = universal[rule.name]
    return rule.text.partition("{")[0] if isinstance(rule, Template) else ""
