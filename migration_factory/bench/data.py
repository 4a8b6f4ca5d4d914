"""The file that is loaded: account records as a Salesforce export has them, the same on every machine."""

from pathlib import Path

import polars as pl

ENTITY = "Account"
COLUMNS = (
    "Id", "Name", "AccountNumber", "Type", "Industry", "Phone", "Fax", "Website", "BillingStreet", "BillingCity",
    "BillingState", "BillingPostalCode", "BillingCountry", "AnnualRevenue", "NumberOfEmployees", "CreatedDate",
    "LastModifiedDate",
)  # fmt: skip
BLOCK_ROWS = 100_000

_FIRST = ("Baltic", "Nordic", "Union", "Harbour", "Summit", "Müller", "Société du", "Pacific", "Atlas", "O'Neill")
_SECOND = ("Freight", "Logistics", "Trading", "Foods", "Textiles", "Shipping", "Chemicals", "Paper", "Steel", "Energy")
_THIRD = ("GmbH", "Ltd", "Inc.", "& Sons, Co.", "SA", "AB", "Holding, Inc.", "BV")
_CITIES = ("Hamburg", "Rotterdam", "Gdańsk", "New York", "São Paulo", "Osaka", "Marseille", "Leeds")
_STATES = ("HH", "ZH", "PM", "NY", "SP", None, "PAC", None)
_COUNTRIES = ("Germany", "Netherlands", "Poland", "United States", "Brazil", "Japan", "France", "United Kingdom")
_INDUSTRIES = ("Transportation", "Retail", "Manufacturing", "Agriculture", "Energy", None)
_TYPES = ("Customer - Direct", "Prospect", "Technology Partner", "Other", None)


def write_accounts(path: Path, rows: int) -> None:
    """Write ``rows`` records of ``COLUMNS`` to ``path``: CSV, UTF-8, quoted where needed, about 230 bytes each."""
    with path.open("wb") as file:
        for start in range(0, max(rows, 1), BLOCK_ROWS):
            block = _accounts(start, min(start + BLOCK_ROWS, rows))
            block.write_csv(file, include_header=start == 0)


def _accounts(start: int, end: int) -> pl.DataFrame:
    number = pl.col("n")
    name = pl.concat_str(_pick(_FIRST, 3), _pick(_SECOND, 7), _pick(_THIRD, 11), number.cast(pl.String), separator=" ")
    return pl.DataFrame({"n": range(start, end)}, schema={"n": pl.UInt64}).select(
        pl.format("001MF{}", _padded(number, 13)).alias("Id"),
        name.alias("Name"),
        pl.format("AC-{}", _padded(number, 8)).alias("AccountNumber"),
        _pick(_TYPES, 13).alias("Type"),
        _pick(_INDUSTRIES, 17).alias("Industry"),
        pl.format("+49 40 {}", _padded(_scattered(19, 10**7), 7)).alias("Phone"),
        pl.when(_scattered(23, 3) == 0).then(pl.format("+49 40 {}", _padded(number, 7))).alias("Fax"),
        pl.format("https://www.account-{}.example.com", number).alias("Website"),
        pl.format("{} Harbour Street", _scattered(29, 400) + 1).alias("BillingStreet"),
        _pick(_CITIES, 31).alias("BillingCity"),
        _pick(_STATES, 31).alias("BillingState"),
        _padded(_scattered(37, 99_999), 5).alias("BillingPostalCode"),
        _pick(_COUNTRIES, 31).alias("BillingCountry"),
        (_scattered(41, 10**9).cast(pl.Decimal(20, 2)) / 100).cast(pl.Decimal(20, 2)).alias("AnnualRevenue"),
        _scattered(43, 20_000).alias("NumberOfEmployees"),
        _moment(47).alias("CreatedDate"),
        _moment(53).alias("LastModifiedDate"),
    )


def _scattered(salt: int, most: int) -> pl.Expr:
    """A whole number below ``most`` that looks like chance: Knuth's multiplicative hash."""
    return (((pl.col("n") + salt) * 2_654_435_761) % 4_294_967_296 * salt // 7) % most


def _pick(values: tuple[str | None, ...], salt: int) -> pl.Expr:
    return pl.lit(pl.Series(values, dtype=pl.String)).gather(_scattered(salt, len(values)))


def _padded(number: pl.Expr, width: int) -> pl.Expr:
    return number.cast(pl.String).str.zfill(width)


def _moment(salt: int) -> pl.Expr:
    """Within ten years, as Salesforce writes moments: ``2019-03-01T10:00:00.000Z``."""
    second = pl.datetime(2015, 1, 1) + pl.duration(seconds=_scattered(salt, 315_000_000))
    return second.dt.strftime("%Y-%m-%dT%H:%M:%S.000Z")
