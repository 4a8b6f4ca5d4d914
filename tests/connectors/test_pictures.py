"""Picture addresses: the same for the same picture, read back as they were written, and what a kind of image is."""

import polars as pl
import pytest

from connectors import pictures
from connectors.contents import Reference
from projects.mapping.equality import EqualityRule, canonical

RED = Reference("00DAA0000000001/Account/001AA0000000001/Story__c/0EMAA0000000001", 12, "a" * 32)
ELSEWHERE = Reference("00DBB0000000001/Account/001BB0000000009/Story__c/0EMBB0000000007", 12, "a" * 32)
BLUE = Reference(ELSEWHERE.at, 13, "b" * 32)


def text(*shown: Reference) -> str:
    return "<p>" + "".join(f'<img src="{pictures.address(each)}">' for each in shown) + "</p>"


def test_what_a_text_shows_is_read_back_where_it_stands() -> None:
    written = text(RED, BLUE)
    found = pictures.shown(written)
    assert [each.reference for each in found] == [RED, BLUE]
    assert [written[each.start : each.end] for each in found] == [pictures.address(RED), pictures.address(BLUE)]
    assert pictures.shown('<img src="https://x/servlet/rtaImage?refid=0EM"> picture:of@me') == []


def test_texts_that_show_the_same_pictures_are_the_same_wherever_these_are() -> None:
    rows = pl.DataFrame({"story": [text(RED), text(ELSEWHERE), text(BLUE), None]})
    for spelled in (
        rows.select(pictures.wherever(pl.col("story")))["story"].to_list(),
        canonical(rows, {"story": (EqualityRule.RICH,)})["story"].to_list(),
    ):
        assert spelled[0] == spelled[1] != spelled[2]
        assert spelled[3] is None
    assert pictures.wherever_in(text(RED)) == pictures.wherever_in(text(ELSEWHERE))


@pytest.mark.parametrize(
    ("body", "kind"), [(b"\x89PNG\r\n", "png"), (b"\xff\xd8\xff\xe0", "jpeg"), (b"GIF89a", "gif"), (b"", "png")]
)
def test_a_kind_of_image_is_told_by_how_it_begins(body: bytes, kind: str) -> None:
    assert pictures.kind_of(body) == kind
