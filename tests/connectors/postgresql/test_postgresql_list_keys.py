"""Listing the keys that are counted: reconciliation names with them the records that nobody tracks."""

import polars as pl
import pytest

from connectors.targets import postgresql
from connectors.targets.postgresql import PostgresqlTarget


def test_keys_are_listed_page_by_page_as_they_are_counted(
    product: PostgresqlTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "LISTED_AT_ONCE", 4)
    keys = [*(f"list_%:{n}" for n in range(9)), "list_xx:1"]
    product.write("accounts", pl.DataFrame({"external_id": keys, "name": keys}), key="external_id")
    pages = list(product.keys("accounts", key="external_id", prefix="list_%:"))
    assert sorted(pl.concat(pages)) == keys[:9]
    assert [len(page) for page in pages] == [4, 4, 1]
    assert product.count("accounts", key="external_id", prefix="list_%:") == 9
    assert list(product.keys("accounts", key="external_id", prefix="none:")) == []


def test_listing_may_be_left_early_and_the_target_used_again(product: PostgresqlTarget) -> None:
    product.write("accounts", pl.DataFrame({"external_id": ["early:1"], "name": ["a"]}), key="external_id")
    pages = product.keys("accounts", key="external_id", prefix="early:")
    assert next(pages).to_list() == ["early:1"]
    pages.close()  # type: ignore[attr-defined]  # it is a generator
    assert product.count("accounts", key="external_id", prefix="early:") == 1
