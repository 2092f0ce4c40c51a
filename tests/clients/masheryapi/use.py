"""Takes every step that the client has, as a program that manages an area would.

Usage: use.py HOST ENDPOINT, both with a port. Leaves a service whose key comes in the header `X-Key`: the endpoint `/pets` on
ENDPOINT, the key `tf-key` of a plan with two calls a day, and the key `v2-key` of the service alone. Prints a table of the steps;
the first that goes otherwise ends it.
"""

import importlib.metadata
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import urllib3
from masheryapi import Apis, Auth, Base, ImportExternalApiDefinitions, MasheryV2, MasheryV3

HOST, ENDPOINT = sys.argv[1:]
VERSION = importlib.metadata.version("masheryapi")
AREA, AREA_ID = "6ae4c9f6-area", 171
urllib3.disable_warnings()

SWAGGER = {
    "swagger": "2.0",
    "info": {"title": "pets", "version": "1", "description": "all pets"},
    "host": "backend.example.com",
    "basePath": "",
    "schemes": ["http"],
    "securityDefinitions": {"api_key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
    "paths": {"/pets": {"get": {"operationId": "list", "description": "", "parameters": []}}},
}


def step(name, result):
    print(f"| masheryapi | {VERSION} | {name} | {result} |")


def answered(answer, status=200):
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer.json()


def fails(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


class Definitions(BaseHTTPRequestHandler):
    """The source of API definitions that are imported."""

    def do_GET(self):
        body = json.dumps({**SWAGGER, "info": {**SWAGGER["info"], "title": "imported"}, "basePath": "/imported"}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def tokens():
    v3 = MasheryV3("http", HOST)
    given = v3.authenticate("key", "secret", "ann", "password", AREA)
    assert given["mapi"] == "key" and given["scope"] == AREA and given["expires_in"] > 0, given
    step("MasheryV3.authenticate", "a token")
    assert v3.authenticate_with_code("key", "secret", "code", AREA, "http://back")["access_token"]
    step("MasheryV3.authenticate_with_code", "a token")
    auth = Auth("http", HOST, AREA_ID, AREA, "key", "secret", "auth")
    code = auth.get_authorization_code("service", "client", "http://back", "scope", "ann")
    assert code and auth.get_access_token_with_code(code, AREA, "http://back")["access_token"]
    step("Auth.get_authorization_code, get_access_token_with_code", "a code, and a token for it")
    assert auth.get_access_token("ann", "password", AREA)["access_token"]
    step("Auth.get_access_token", "a token")
    return v3, given["access_token"]


def objects(v3, token):
    base = Base("http", HOST, "base")
    definition = Apis().from_swagger(ENDPOINT, json.dumps(SWAGGER))
    made = answered(base.create(token, "/services", "fields=id,name,endpoints", {**definition, "editorHandle": "ann"}))
    assert made["endpoints"][0]["requestPathAlias"] == "/pets", made
    step("Apis.from_swagger, Base.create of a service with its endpoints", "200, all of it")
    service = f"/services/{made['id']}"
    whole = answered(base.get(token, service, "fields=id,name,editorHandle,endpoints.name,endpoints.apiKeyValueLocationKey"))
    assert whole["editorHandle"] == "ann" and whole["endpoints"][0]["apiKeyValueLocationKey"] == "X-Key", whole
    step("Base.get with fields of what is within", "as it was sent")
    changed = answered(base.update(token, service, "", {"rateLimitCeiling": 50, "robotsPolicy": "none"}))
    assert (changed["rateLimitCeiling"], changed["robotsPolicy"], changed["editorHandle"]) == (50, "none", "ann"), changed
    step("Base.update", "200, members that are not understood are kept")
    assert base.update(token, service, "", {"rateLimitCeiling": -1}).json()["errors"][0]["property"] == "rateLimitCeiling"
    step("Base.update of a bad value", "400, the property is named")
    assert [one["id"] for one in answered(v3.get(token, "/services", "limit=9999"))] == [made["id"]]
    step("MasheryV3.get with limit=9999", "200, clamped")
    assert len(base.get_all(token, "/services", "limit=100")) == 1
    step("Base.get_all of one page", "complete (its offsets beyond one page are wrong)")
    assert base.get_all(token, "/nothing", "") == []
    step("Base.get_all of what is not served", "404, an empty list")
    return base, made


def plans(v3, token, base, made):
    service = {"id": made["id"], "endpoints": made["endpoints"]}
    plan = {"name": "gold", "rateLimitCeiling": 2, "rateLimitPeriod": "day", "services": [service]}
    package = answered(base.create(token, "/packages", "fields=id,name,plans", {"name": "partners", "plans": [plan]}))
    plan = package["plans"][0]
    step("Base.create of a package with plan and services", "200, all of it")
    member = answered(v3.post(token, "/members", "", {"username": "ann", "email": "ann@example.com"}))
    application = answered(v3.post(token, f"/members/{member['id']}/applications", "", {"name": "shop"}))
    key = {"apikey": "tf-key", "package": {"id": package["id"]}, "plan": {"id": plan["id"]}}
    key = answered(v3.post(token, f"/applications/{application['id']}/packageKeys", "", key))
    assert key["limits"] == [{"period": "day", "source": "plan", "ceiling": 2}], key
    step("MasheryV3.post of member, application and key", "200, the key has the limits of its plan")
    same = answered(v3.put(token, f"/packageKeys/{key['id']}", "", key))
    assert {**same, "updated": None} == {**key, "updated": None}, same
    step("MasheryV3.put of the key as it was read", "200, unchanged")
    spare = answered(v3.post(token, "/packages", "", {"name": "spare"}))
    assert v3.delete(token, f"/packages/{spare['id']}") == 200
    assert v3.delete(token, f"/packages/{spare['id']}") == 404
    assert v3.delete(token, f"/packages/{package['id']}") == 409
    step("MasheryV3.delete", "200; again 404; 409 with keys")
    fails(AttributeError, lambda: base.delete("service", made["id"]))
    step("Base.delete", "fails in the client: it has no V2 API")


def rpc(made):
    v2 = MasheryV2("http", HOST)

    def call(method, param):
        body = json.dumps({"method": method, "params": [param], "id": 1})
        return v2.post(AREA_ID, "key", "secret", body)["result"]

    found = call("object.query", "SELECT service_key, rate_limit_ceiling FROM services WHERE name = 'pets'")
    assert found["items"] == [{"service_key": made["id"], "rate_limit_ceiling": 50}], found
    step("MasheryV2.post object.query", "the same objects")
    key = call("key.create", {"apikey": "v2-key", "service_key": made["id"], "rate_limit_ceiling": 3})
    call("service.update", {"service_key": made["id"], "rate_limit_override_allowed": True})
    assert call("key.fetch", key["id"])["limits"][0]["ceiling"] == 3
    step("MasheryV2.post key.create, service.update, key.fetch", "the key's own limit counts")
    endpoint = {"service_key": made["id"], "name": "v2", "request_path_alias": "/v2", "public_domains": [{"address": ENDPOINT}]}
    endpoint = call("endpoint.create", endpoint)
    method = call("method.create", {"endpoint_id": endpoint["id"], "name": "report"})
    assert call("method.delete", method["id"]) and call("endpoint.delete", endpoint["id"])
    step("MasheryV2.post create and delete of endpoint and method", "the same objects")
    error = fails(ValueError, lambda: call("service.create", {"rate_limit_ceiling": 1})).args[0]
    assert error["code"] == 1002, error
    step("MasheryV2.post of a bad object", "ValueError with code 1002")
    assert v2.get(AREA_ID, "key", "secret", "/reports/calls/developer_activity/service/x", "&format=json") is None
    step("MasheryV2.get of a report", "404, None: reports are not served")


def imported(token, base):
    source = HTTPServer(("127.0.0.1", 0), Definitions)
    threading.Thread(target=source.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{source.server_port}/swagger.json"
    importer = ImportExternalApiDefinitions(base)
    # It hands on the definition as an object where its own reader takes text.
    fails(TypeError, lambda: importer.import_definition(token, url, ENDPOINT, "true", "false"))
    step("ImportExternalApiDefinitions.import_definition", "fails in the client, whatever is answered")
    source.shutdown()


v3, token = tokens()
base, made = objects(v3, token)
plans(v3, token, base, made)
rpc(made)
imported(token, base)
