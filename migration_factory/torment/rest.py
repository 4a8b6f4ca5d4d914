"""What the campaign itself asks an org: a client of a few lines over plain HTTP, and not a line of the connectors'."""

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

_DATA = "/services/data/v66.0"


class Rest:
    """An org as an app sees it. Raises ValueError where it refuses."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        self._address = urlsplit(url).netloc
        self._token = ""
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        answer = self._ask("POST", "/services/oauth2/token", urlencode(form))
        self._token = str(answer["access_token"])

    def query(self, soql: str) -> Iterator[Mapping[str, object]]:
        path = f"{_DATA}/query?q={quote(soql)}"
        while path:
            page = self._ask("GET", path)
            yield from page["records"]
            path = page.get("nextRecordsUrl", "")

    def describe(self, name: str) -> Mapping[str, Any]:
        return self._ask("GET", f"{_DATA}/sobjects/{name}/describe")

    def _ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        connection = HTTPConnection(self._address, timeout=60)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        headers |= {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != 200:
            raise ValueError(f"{method} {path.partition('?')[0]} answered {answer.status}")
        return dict(json.loads(content))
