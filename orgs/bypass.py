"""The switch by which an org's own automation stands aside while runs write: what it is called, and making it."""

from connectors.registry import target_class
from orgs import services
from orgs.models import AutomationBypass, Org


def name_of(org: Org) -> str:
    """What the switch is called in the system. Ours alone: another installation, or another org of ours that leads to
    the same system, has its own."""
    return f"Migration_Factory_Bypass_{org.public_id.hex[:10]}"


def asked_for(org: Org) -> str:
    """What the org's automation asks for before it stands aside; blank where it is not to."""
    setting = target_class(org.platform).capabilities.bypassed_by if org.writes else ""
    return str(org.settings.get(setting) or "") if setting else ""


def prepare(org: Org) -> tuple[str, ...]:
    """Make in the system what is missing of the switch; one sentence per change. Raises connector errors."""
    with services.open_target(org) as target:
        return target.prepare_bypass(name_of(org))


def standing(org: Org) -> AutomationBypass | None:
    """The switch as far as it is on, or may be."""
    return AutomationBypass.objects.filter(org=org).first()


def forget(org: Org) -> None:
    """Believe a person that one which gave trouble is off; a run that needs it switches it on again."""
    AutomationBypass.objects.filter(org=org).exclude(trouble="").delete()
