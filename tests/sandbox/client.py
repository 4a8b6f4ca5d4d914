"""A bare HTTP client for the simulator, so that its tests share no code with the product's connectors."""

from typing import Any

import httpx

from sandbox.salesforce.running import Running

DATA = "/services/data/v66.0"


class Client:
    def __init__(self, running: Running, http: httpx.Client) -> None:
        self.running = running
        self.ready = running.ready
        self.control = running.control
        self.http = http
        self.token = running.ready.access_token

    def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        path = path if path.startswith("/services") else DATA + path
        return self.http.request(method, path, headers=headers, **options)

    def query(self, soql: str, resource: str = "query", **options: Any) -> dict[str, Any]:
        answer = self.ask(f"/{resource}", params={"q": soql}, **options)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def values(self, soql: str, field: str = "Id", resource: str = "query") -> list[Any]:
        return [record[field] for record in self.query(soql, resource)["records"]]

    def error(self, path: str, method: str = "GET", **options: Any) -> tuple[int, str, str]:
        """Status, code and message of an answer that must be one error in the vendor's shape."""
        answer = self.ask(path, method, **options)
        (entry,) = answer.json()
        assert set(entry) <= {"message", "errorCode", "fields"}
        return answer.status_code, entry["errorCode"], entry["message"]

    def refused(self, soql: str) -> tuple[str, str]:
        """Code and message with which a query is refused."""
        status, code, message = self.error("/query", params={"q": soql})
        assert status == 400
        return code, message

    def job(self, soql: str, **options: object) -> str:
        """A finished bulk query job's id."""
        body = {"operation": "query", "query": soql, **options}
        key = str(self.ask("/jobs/query", "POST", json=body).raise_for_status().json()["id"])
        for _ in range(2_000):
            state = self.ask(f"/jobs/query/{key}").json()["state"]
            if state not in ("UploadComplete", "InProgress"):
                return key
        raise AssertionError(f"the job stayed {state}")
