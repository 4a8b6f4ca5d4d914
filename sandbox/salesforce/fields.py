"""Short constructors for the kinds of field a Salesforce object is made of."""

from dataclasses import replace

from sandbox.salesforce.schema import Field, PicklistValue

GEOCODE_ACCURACY = (
    "Address", "NearAddress", "Block", "Street", "ExtendedZip", "Zip", "Neighborhood", "City", "County",
    "State", "Unknown",
)  # fmt: skip


def text(name: str, label: str, length: int = 255) -> Field:
    return Field(name, "string", label, length=length)


def text_area(name: str, label: str, length: int = 255) -> Field:
    """A multi-line text; beyond 255 characters it can be neither filtered nor sorted."""
    return Field(name, "textarea", label, length=length, extra="plaintextarea", filterable=length <= 255)


def phone(name: str, label: str) -> Field:
    return Field(name, "phone", label, length=40)


def url(name: str, label: str) -> Field:
    return Field(name, "url", label, length=255)


def email(name: str, label: str) -> Field:
    return Field(name, "email", label, length=80, id_lookup=True)


def date(name: str, label: str) -> Field:
    return Field(name, "date", label)


def datetime(name: str, label: str) -> Field:
    return Field(name, "datetime", label)


def integer(name: str, label: str, digits: int = 8) -> Field:
    return Field(name, "int", label, digits=digits)


def currency(name: str, label: str, scale: int = 2) -> Field:
    return Field(name, "currency", label, precision=18, scale=scale)


def double(name: str, label: str, precision: int = 18, scale: int = 0) -> Field:
    return Field(name, "double", label, precision=precision, scale=scale)


def percent(name: str, label: str, precision: int = 5, scale: int = 2) -> Field:
    return Field(name, "percent", label, precision=precision, scale=scale)


def flag(name: str, label: str) -> Field:
    """A checkbox: never null, false unless said otherwise."""
    return Field(name, "boolean", label, nillable=False, defaulted=True, default=False)


def picklist(name: str, label: str, *values: str, length: int = 40, restricted: bool = False) -> Field:
    entries = tuple(PicklistValue(value, value) for value in values)
    return Field(name, "picklist", label, length=length, values=entries, restricted=restricted)


def reference(
    name: str, label: str, *targets: str, relationship: str | None = None, children: str | None = None
) -> Field:
    """A look-up. ``children`` is the name of the list of these records on the parent."""
    return Field(
        name,
        "reference",
        label,
        length=18,
        reference_to=targets,
        relationship=relationship,
        child_relationship=children,
    )


def required(field: Field) -> Field:
    return replace(field, nillable=False)


def read_only(field: Field) -> Field:
    return replace(field, createable=False, updateable=False)


def defaulting(field: Field, *, value: str | bool | float) -> Field:
    """Not nillable, and filled with ``value`` where a new record says nothing."""
    values = tuple(replace(each, default=each.value == value) for each in field.values)
    return replace(field, nillable=False, defaulted=True, default=value, values=values)


def address(prefix: str, label: str) -> tuple[Field, ...]:
    """The parts of a compound address and, last, the compound that is read as one object and never written."""
    name = f"{prefix}Address"
    said = f"{label} " if label else ""
    parts = (
        text_area(f"{prefix}Street", f"{said}Street"),
        text(f"{prefix}City", f"{said}City", 40),
        text(f"{prefix}State", f"{said}State/Province", 80),
        text(f"{prefix}PostalCode", f"{said}Zip/Postal Code", 20),
        text(f"{prefix}Country", f"{said}Country", 80),
        double(f"{prefix}Latitude", f"{said}Latitude", 18, 15),
        double(f"{prefix}Longitude", f"{said}Longitude", 18, 15),
        picklist(f"{prefix}GeocodeAccuracy", f"{said}Geocode Accuracy", *GEOCODE_ACCURACY, restricted=True),
    )
    keys = ("city", "country", "geocodeAccuracy", "latitude", "longitude", "postalCode", "state", "street")
    compound = read_only(
        Field(name, "address", f"{said}Address", parts=tuple((key, prefix + key[0].upper() + key[1:]) for key in keys))
    )
    return (*(replace(part, compound=name) for part in parts), compound)


def person_name() -> tuple[Field, ...]:
    """Salutation, first and last name, and the compound ``Name`` made of them."""
    salutation = picklist("Salutation", "Salutation", "Mr.", "Ms.", "Mrs.", "Dr.", "Prof.")
    parts = (required(text("LastName", "Last Name", 80)), text("FirstName", "First Name", 40), salutation)
    whole = replace(read_only(text("Name", "Full Name", 121)), name_field=True, nillable=False)
    return (*(replace(part, compound="Name", extra="personname") for part in parts), replace(whole, extra="personname"))


def name(label: str, length: int = 255) -> Field:
    """The name field of an object whose records a person names."""
    return replace(required(text("Name", label, length)), name_field=True)


def record_id(label: str) -> Field:
    return read_only(Field("Id", "id", label, length=18, nillable=False, defaulted=True, id_lookup=True))


def deleted() -> Field:
    return read_only(flag("IsDeleted", "Deleted"))


def owner(*targets: str) -> Field:
    return replace(
        reference("OwnerId", "Owner ID", *(targets or ("User",)), relationship="Owner"), nillable=False, defaulted=True
    )


def audit() -> tuple[Field, ...]:
    """Who made and last changed the record, and the stamp deltas are asked by."""
    when = (
        ("CreatedDate", "Created Date"),
        ("LastModifiedDate", "Last Modified Date"),
        ("SystemModstamp", "System Modstamp"),
    )
    created, modified, stamp = (replace(read_only(datetime(*each)), nillable=False, defaulted=True) for each in when)
    return (created, _who("CreatedBy", "Created By ID"), modified, _who("LastModifiedBy", "Last Modified By ID"), stamp)


def _who(relationship: str, label: str) -> Field:
    field = reference(f"{relationship}Id", label, "User", relationship=relationship)
    return replace(read_only(field), nillable=False, defaulted=True)
