"""Pictures of rich texts in the simulator: taken out of texts, served by their record, gone with it."""

import base64
import re

import pytest

from tests.sandbox.client import Client

RICH = {"fullName": "Story__c", "label": "Story", "type": "Html", "length": 1_000, "visibleLines": 10}
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 5_000


@pytest.fixture
def rich(client: Client) -> Client:
    client.control.define({"fullName": "Account", "fields": [RICH]})
    return client


def shown(client: Client, record: str) -> list[tuple[str, str]]:
    """Record and reference in the address of each picture."""
    [text] = client.values(f"SELECT Story__c FROM Account WHERE Id = '{record}'", "Story__c")
    return re.findall(r'src="https://[^"]*/servlet/rtaImage\?eid=(\w{15})&amp;feoid=\w{15}&amp;refid=(\w{15})"', text)


def test_a_picture_in_a_text_is_kept_beside_the_record(rich: Client) -> None:
    """However long it is: what counts is the text with the address in its place."""
    embedded = f'<img alt="p" src="data:image/png;base64,{base64.b64encode(PNG).decode()}"></img>'
    made = rich.ask("/sobjects/Account", "POST", json={"Name": "A", "Story__c": f"<p>{embedded}</p>"})
    record = made.json()["id"]
    [(holder, reference)] = shown(rich, record)
    assert record.startswith(holder)
    answer = rich.ask(f"/sobjects/Account/{record}/richTextImageFields/Story__c/{reference}")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PNG, "image/png")

    # A text that keeps the address keeps the picture; other records and fields do not have it.
    [text] = rich.values(f"SELECT Story__c FROM Account WHERE Id = '{record}'", "Story__c")
    rich.ask(f"/sobjects/Account/{record}", "PATCH", json={"Story__c": text + "<p>more</p>"})
    assert shown(rich, record) == [(holder, reference)]
    other = rich.ask("/sobjects/Account", "POST", json={"Name": "B", "Story__c": text}).json()["id"]
    assert shown(rich, other) == [(holder, reference)]
    for path in (f"{other}/richTextImageFields/Story__c/{reference}", f"{record}/richTextImageFields/Name/{reference}"):
        assert rich.error(f"/sobjects/Account/{path}")[:2] == (404, "NOT_FOUND")
    rich.ask(f"/sobjects/Account/{record}", "DELETE")
    assert rich.error(f"/sobjects/Account/{record}/richTextImageFields/Story__c/{reference}")[0] == 404


def test_a_refused_record_leaves_no_picture(rich: Client) -> None:
    embedded = f'<img src="data:image/gif;base64,{base64.b64encode(b"GIF89a").decode()}">'
    answer = rich.ask("/sobjects/Account", "POST", json={"Name": "x" * 300, "Story__c": embedded})
    assert answer.status_code == 400
    assert rich.error("/sobjects/Account/001000000000000/richTextImageFields/Story__c/0EMHs0000000001")[0] == 404
