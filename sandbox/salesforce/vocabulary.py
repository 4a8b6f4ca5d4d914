"""The words generated records are made of: names with apostrophes and scripts beyond Latin, places, text with traps."""

FIRST_NAMES = (
    "Amelia", "Noah", "Olivia", "Liam", "Zoë", "José", "Chloé", "Søren", "Łukasz", "Nguyễn", "Ingrid", "Mateo",
    "Aisha", "Hiroshi", "美咲", "Ольга", "Dmitri", "Fatima", "Björn", "Siobhán", "Renée", "Jürgen", "Anaïs", "Priya",
    "Kwame", "Mei", "Tomáš", "Ebony", "Jean-Luc", "Mary Ann", "Grace", "Ethan", "Harper", "Leo", "Isla", "Jack",
    "Ruby", "Oscar", "Matilda", "William", "Charlotte", "Thomas", "Ava", "Lucas", "Mia", "Henry", "Sophie", "Hugo",
    "Elena", "Omar",
)  # fmt: skip
LAST_NAMES = (
    "Smith", "Jones", "Williams", "Brown", "O'Brien", "D'Angelo", "Müller", "García", "Kowalczyk", "Nakamura", "佐藤",
    "Иванова", "van der Berg", "McDonald", "Fitzgerald", "Østergaard", "Çelik", "Lindqvist", "Dubois", "Rossi",
    "Novák", "Papadopoulos", "Al-Masri", "Okafor", "Nguyen", "Kim", "Patel", "Singh", "Wang", "Fernández", "Silva",
    "Costa", "Murphy", "Kelly", "Walker", "Harris", "Martin", "Thompson", "White", "Clark", "Lewis", "Young",
    "Hall", "Allen", "King", "Wright", "Scott", "Green", "Baker", "Adams", "Nelson", "Hill", "Campbell", "Mitchell",
    "Roberts", "Carter",
)  # fmt: skip
ASCII_FIRST = (
    "amelia", "noah", "olivia", "liam", "zoe", "jose", "chloe", "soren", "lukasz", "nguyen", "ingrid",
)  # fmt: skip
ASCII_LAST = (
    "smith", "jones", "obrien", "muller", "garcia", "nakamura", "vanderberg", "celik", "rossi", "patel",
)  # fmt: skip
COMPANY_STEMS = (
    "Harbour", "Alpine", "Northern Trail", "Blue Gum", "Ironbark", "Crescent", "Meridian", "Pacific", "Kestrel",
    "Summit", "Lantern", "Redwood", "Southern Cross", "Granite", "Silver Fern", "Évora", "Zürich", "Nordlys",
    "São Bento", "Kōwhai", "Bright & Sons", "O'Malley's", "Three Rivers", "Cobalt", "Falcon", "Juniper", "Willow",
    "Beacon", "Atlas", "Orchard",
)  # fmt: skip
COMPANY_KINDS = (
    "Foods", "Logistics", "Freight", "Engineering", "Health", "Mining", "Retail", "Energy", "Consulting",
    "Software", "Pharma", "Textiles", "Transport", "Agriculture", "Media", "Construction",
)  # fmt: skip
COMPANY_FORMS = (
    "Pty Ltd", "Inc.", "Ltd", "GmbH", "LLC", "S.A.", "K.K.", "Group", "Holdings", "& Co",
)  # fmt: skip
STREETS = (
    "High St", "Station Road", "Königstraße", "Rue de la Paix", "George St", "Market Lane", "Main St",
    "Ocean Drive",
)  # fmt: skip
PLACES = (
    ("Sydney", "NSW", "2000", "Australia"), ("Melbourne", "VIC", "3000", "Australia"),
    ("Perth", "WA", "6000", "Australia"), ("Auckland", None, "1010", "New Zealand"),
    ("London", None, "EC1A 1BB", "United Kingdom"), ("San Francisco", "CA", "94105", "USA"),
    ("Belmont", "MA", "02478", "USA"), ("Zürich", "ZH", "8001", "Switzerland"), ("Köln", "NRW", "50667", "Germany"),
    ("São Paulo", "SP", "01310-100", "Brazil"), ("東京", "東京都", "100-0001", "Japan"),
    ("Montréal", "QC", "H2Y 1C6", "Canada"),
)  # fmt: skip
TITLES = (
    "CEO", "CFO", "VP Sales", "Buyer", "Operations Manager", "Engineer", "Office Manager", "Head of Procurement",
    None,
)  # fmt: skip
DEPARTMENTS = (
    "Sales", "Finance", "Operations", "Purchasing", "IT", None, None,
)  # fmt: skip
NOTES = (
    None, None, None, "Met at the trade show.", 'Said: "call me, but after 5 pm", then left.',
    "Line one\nLine two; with, commas", "Prefers e-mail — not calls. Größe unklar. 👍",
    "=SUM(A1:A9) is text, not a formula", "Ends with a dash -", "<b>Not</b> HTML & fine",
)  # fmt: skip
DEALS = (
    "Renewal", "Upgrade", "New sites", "Pilot", "Add-on", "Framework agreement", "Replacement",
)  # fmt: skip
PRODUCTS = (
    "Pallet Scanner", "Route Planner", "Cold Box", "Fleet Tag", "Dock Scheduler", "Customs Filing", "Yard Gate",
    "Load Cell",
)  # fmt: skip
PARAGRAPH = (
    "The account asked for a review of all open shipments and of the rates agreed last year. "
    "Nothing was decided; the notes of the call are kept here for whoever follows up. "
)
