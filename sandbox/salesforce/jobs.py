"""The HTTP side of Bulk 2.0 query jobs; what a job does is in ``bulk``."""

from starlette.responses import Response

from sandbox.salesforce.bodies import json_object
from sandbox.salesforce.errors import ApiError
from sandbox.salesforce.rest import Call, Services, as_json


def create(services: Services, call: Call) -> Response:
    return as_json(services.bulk.create(json_object(call.body), call.version))


def listed(services: Services, _: Call) -> Response:
    return as_json(services.bulk.listed())


def status(services: Services, call: Call) -> Response:
    return as_json(services.bulk.poll(_key(call)))


def abort(services: Services, call: Call) -> Response:
    return as_json(services.bulk.abort(_key(call), json_object(call.body).get("state")))


def delete(services: Services, call: Call) -> Response:
    services.bulk.delete(_key(call))
    return Response(status_code=204)


def results(services: Services, call: Call) -> Response:
    most = call.argument("maxRecords")
    if most is not None and (not most.isdigit() or int(most) < 1):
        raise ApiError(400, "INVALIDJOB", "maxRecords must be a positive whole number")
    page, count, following = services.bulk.results(
        _key(call), call.version, call.argument("locator"), int(most) if most else None
    )
    headers = {"Sforce-NumberOfRecords": str(count), "Sforce-Locator": following}
    return Response(page, headers=headers, media_type="text/csv;charset=UTF-8")


def result_pages(services: Services, call: Call) -> Response:
    return as_json(services.bulk.result_pages(_key(call), call.version, call.argument("locator")))


def _key(call: Call) -> str:
    return str(call.request.path_params["id"])
