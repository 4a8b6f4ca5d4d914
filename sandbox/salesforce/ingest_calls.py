"""The HTTP side of Bulk 2.0 ingest jobs; what a job does is in ``ingest``."""

from starlette.responses import Response

from sandbox.salesforce.bodies import json_object
from sandbox.salesforce.errors import ApiError
from sandbox.salesforce.rest import Call, Services, as_json


def create(services: Services, call: Call) -> Response:
    return as_json(services.ingest.create(json_object(call.body), call.version))


def listed(services: Services, call: Call) -> Response:
    return as_json(services.ingest.listed(call.argument("queryLocator"), call.version))


def upload(services: Services, call: Call) -> Response:
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/csv":
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", f"The content type {kind or '(none)'} is not text/csv")
    services.ingest.upload(_key(call), call.body, call.version)
    return Response(status_code=201)


def change(services: Services, call: Call) -> Response:
    return as_json(services.ingest.change(_key(call), json_object(call.body).get("state")))


def status(services: Services, call: Call) -> Response:
    return as_json(services.ingest.poll(_key(call)))


def delete(services: Services, call: Call) -> Response:
    services.ingest.delete(_key(call))
    return Response(status_code=204)


def successful(services: Services, call: Call) -> Response:
    return _results(services, call, "successfulResults")


def failed(services: Services, call: Call) -> Response:
    return _results(services, call, "failedResults")


def unprocessed(services: Services, call: Call) -> Response:
    return _results(services, call, "unprocessedrecords")


def _results(services: Services, call: Call, kind: str) -> Response:
    return Response(services.ingest.results(_key(call), kind), media_type="text/csv;charset=UTF-8")


def _key(call: Call) -> str:
    return str(call.request.path_params["id"])
