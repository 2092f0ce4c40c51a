"""Takes aepp through every call that it has for the two APIs of journeys: `use.py ENDPOINT`.

Prints one line for each step, its name and its result; ends with an error where a result is not the documented one. Leaves
one config of each API deployed.
"""

import json
import sys

import aepp
import requests
from aepp import ajo

ENDPOINT = sys.argv[1]
ORG = "ACME@AdobeOrg"

steps = []


def step(name, given, is_right, result):
    assert is_right, f"{name}: {given}"
    steps.append(name)
    print(f"{name}\t{result}", flush=True)


def cap(calls):
    rating = {"maxCallsCount": calls, "periodInMs": 60_000}
    services = {"action": {"maxHttpConnections": 50, "rating": rating}}
    return {"url": f"{ENDPOINT}/capped/*", "methods": ["POST"], "services": services, "orgId": ORG}


def is_valid(answer):
    return answer["canDeploy"] == {"validationStatus": "ok"}


def is_done(answer):
    """What it makes of an answer without a body."""
    return answer == {}


def capping(client):
    listed = client.getCappings()
    step("getCappings", listed, listed == [], "an empty list")
    created = client.createCapping(data=cap(500))
    step("createCapping(data)", created, is_valid(created), "200, valid")
    uid = created["uid"]
    # Built of its arguments, the config has no `services`: it is saved with that fault.
    built = client.createCapping(
        url=f"{ENDPOINT}/built/*", methods=["POST"], maxHttpConnections=5, maxCallsCount=10, periodInMs=1000
    )
    faults = [fault["errorCode"] for fault in built["canDeploy"]["errors"]]
    step("createCapping(arguments)", built, faults == ["ERR_ENDPOINTCONFIG_104"], "200, fault 104: it sends no services")
    gone = client.deleteCapping(built["uid"])
    step("deleteCapping", gone, gone == 200, "200")
    got = client.getCapping(uid)
    step("getCapping", got, (got["uid"], got["state"]) == (uid, "created"), "200, created")
    updated = client.updateCapping(uid, data=cap(3))
    calls = updated["updatedElement"]["services"]["action"]["rating"]["maxCallsCount"]
    step("updateCapping", updated, is_valid(updated) and calls == 3, "200, valid")
    deployed = client.deployCapping(uid)
    step("deployCapping", deployed, is_done(deployed), "204")
    try:
        refused = client.deleteCapping(uid)
    except requests.exceptions.RetryError as error:
        refused = str(error)
    step("deleteCapping of a deployed one", refused, "500" in refused, "500, which it tries again and then raises")
    undeployed = client.undeployCapping(uid)
    step("undeployCapping", undeployed, is_done(undeployed), "204")
    client.deployCapping(uid)
    listed = [(config["uid"], config["state"]) for config in client.getCappings()]
    step("getCappings of a deployed one", listed, listed == [(uid, "deployed")], "a list of one")


def throttling(client):
    listed = client.getThrottlings()
    step("getThrottlings", listed, listed == {"results": []}, "an empty list")
    built = {"name": "partner", "urlPattern": f"{ENDPOINT}/throttled/*", "methods": ["POST"], "maxThroughput": 4000}
    created = client.createThrottling(**built)
    step("createThrottling(arguments)", created, is_valid(created), "200, valid")
    gone = client.deleteThrottling(created["uid"])
    step("deleteThrottling", gone, gone == 200, "200")
    created = client.createThrottling(data=built)
    step("createThrottling(data)", created, is_valid(created), "200, valid")
    uid = created["uid"]
    got = client.getThrottling(uid)
    step("getThrottling", got, got["result"]["maxThroughput"] == 4000, "200, created")
    updated = client.updateThrottling(uid, **{**built, "maxThroughput": 300})
    rate = updated["updatedElement"]["maxThroughput"]
    step("updateThrottling", updated, is_valid(updated) and rate == 300, "200, valid")
    checked = client.checkThrottling(uid)
    step("checkThrottling", checked, is_valid(checked), "200, valid")
    deployed = client.deployThrottling(uid)
    step("deployThrottling", deployed, is_done(deployed), "204")
    refused = client.deleteThrottling(uid)
    code = json.loads(refused["error"])["code"]
    step("deleteThrottling of a deployed one", refused, code == 1456, "400 with 1456")
    undeployed = client.undeployThrottling(uid)
    step("undeployThrottling", undeployed, is_done(undeployed), "204")
    client.deployThrottling(uid)
    listed = [(config["uid"], config["state"]) for config in client.getThrottlings()["results"]]
    step("getThrottlings of a deployed one", listed, listed == [(uid, "deployed")], "a list of one")


aepp.configure(org_id=ORG, client_id="key", secret="secret", scopes="openid", sandbox="prod")
client = ajo.AJO()
step("login", client.connector.header, client.connector.header["Authorization"] == "Bearer the-token", "a token")
capping(client)
throttling(client)
