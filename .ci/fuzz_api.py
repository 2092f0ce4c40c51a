"""What schemathesis is told about tidegate: which answers are defects, and how to reach what lies behind known ids.

It runs as the hooks of .ci/fuzz-api. Of four calls of an operation one is made as it was generated, one with ids that
answers have named, two with the example of the description as well.
"""

import atexit
import collections
import copy
import json
import os
import urllib.parse
import urllib.request

import schemathesis

STATUSES = collections.defaultdict(collections.Counter)
CALLS = collections.Counter()
# The parameters that lead to what answers have named, the latest ones, by path; and single ones by name.
PLACES = collections.defaultdict(lambda: collections.deque(maxlen=64))
KNOWN = collections.defaultdict(lambda: collections.deque(maxlen=8))
# Requests that were counted, with the confirmation that the count has answered.
CONFIRMED = {}


@schemathesis.check
def no_defect(ctx, response, case):
    """A 5xx passes where a dialect documents it as a refusal. tidegate's own ones are problems: none of them is due here."""
    if response.status_code < 500:
        return
    documented = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    kind = essence(response)
    known = [name.split(";")[0] for name in documented.get("content", {})]
    assert kind in known, f"{response.status_code} {kind} is not documented: {response.text[:300]}"
    assert kind != "application/problem+json", f"a defect: {response.text[:300]}"


@schemathesis.check
def described_code(ctx, response, case):
    """All problems have one schema: which codes a status may carry stands beside it."""
    if essence(response) != "application/problem+json":
        return
    described = case.operation.definition.raw["responses"].get(str(response.status_code))
    if described is None:
        # Methods that no route has are told of once for all of them; other statuses are another check's business.
        return
    if "$ref" in described:
        name = described["$ref"].rsplit("/", 1)[1]
        described = case.operation.schema.raw_schema["components"]["responses"][name]
    code = response.json().get("code")
    known = code in described.get("x-codes", []) or described.get("x-other-codes")
    assert known, f"the code {code} is not described: {response.text[:300]}"


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value).encode()


@schemathesis.hook
def before_call(ctx, case, kwargs):
    choose(case)
    shorten(case)


def choose(case):
    turn, way = divmod(CALLS[case.operation.label], 4)
    turn = 2 * turn + (way == 3)
    CALLS[case.operation.label] += 1
    if way == 0:
        return
    places = [place for path, place in sorted(PLACES.items()) if place and case.operation.path.startswith(path)]
    if places:
        # Where there is something to name of what the path leads to, in preference.
        kind = case.operation.path.rsplit("/", 1)[1].removesuffix("s")
        ready = [place for place in places[-1] if together([kind], place, 0)] or places[-1]
        case.path_parameters.update(ready[turn % len(ready)])
    for name in case.query or {}:
        if KNOWN[name]:
            case.query[name] = KNOWN[name][turn % len(KNOWN[name])]
    if way == 1:
        return
    case.headers = {}
    raw = case.operation.definition.raw
    case.query = {p["name"]: p["example"] for p in raw.get("parameters", []) if p["in"] == "query" and "example" in p}
    content = raw.get("requestBody", {}).get("content", {}).get(case.media_type, {})
    named = [example["value"] for example in content.get("examples", {}).values()]
    examples = [content["example"]] if "example" in content else named
    if examples:
        case.body = copy.deepcopy(examples[turn % len(examples)])
        fill(case, turn)
    if way == 3 and case.operation.label in CONFIRMED:
        case.body = CONFIRMED.pop(case.operation.label)


def shorten(case):
    """Waits are short: there is much to call. Those beyond the bounds stay, which are refused at once."""
    query = case.query or {}
    try:
        wait = int(query.get("wait_seconds", 0))
    except (TypeError, ValueError, OverflowError):
        return
    if 1 < wait <= 60:
        query["wait_seconds"] = 1


def fill(case, turn):
    """Puts known ids where an example names something."""
    if not isinstance(case.body, dict):
        return
    for name, parameter in (("confirm", "id"), ("plugin_version_id", "version_id")):
        if name in case.body:
            case.body[name] = case.path_parameters[parameter]
    # No two keys are the same, nor the addresses of two endpoints.
    for name in ("apikey", "requestPathAlias"):
        if name in case.body:
            case.body[name] = f"{case.body[name]}{turn}"
    given = case.path_parameters or {}
    if case.operation.method.upper() == "POST" and "id" in case.body:
        # A list of what is elsewhere already: of the same owner, where the path names it.
        kind = case.operation.path.rsplit("/", 1)[1].removesuffix("s")
        place = together([kind], {name: value for name, value in given.items() if name != kind}, turn)
        case.body["id"] = place.get(kind, case.body["id"])
    named = [name for name, member in case.body.items() if isinstance(member, dict) and "id" in member]
    place = together(named, {}, turn)
    for name in named:
        if KNOWN[name]:
            case.body[name]["id"] = place.get(name, KNOWN[name][turn % len(KNOWN[name])])


def together(names, given, turn):
    """Ids of these names that belong together, of something that is as given as far as its own path says."""
    fitting = [
        place
        for _, places in sorted(PLACES.items())
        for place in places
        if all(name in place for name in names)
        and all(place[name] == value for name, value in given.items() if name in place)
    ]
    # What leads farthest: below it there is something to name, too.
    fitting = [place for place in fitting if len(place) == max(map(len, fitting))]
    return fitting[turn % len(fitting)] if names and fitting else {}


@schemathesis.hook
def after_call(ctx, case, response):
    if any(status.startswith("2") for status in case.operation.definition.raw["responses"]):
        STATUSES[case.operation.label][response.status_code] += 1
    forget(case, response.status_code)
    if response.status_code >= 300 or essence(response) != "application/json":
        return
    answer = response.json()
    if isinstance(answer, dict) and "confirm" in answer and isinstance(case.body, dict):
        CONFIRMED[case.operation.label] = {**case.body, "confirm": answer["confirm"]}
    if case.operation.label == "POST /v1/dispatch:pause":
        resume(response.request.url)
    below = [path for path in all_paths(case) if path.startswith(case.operation.path + "/{") and path.endswith("}")]
    below = [path for path in below if path.count("/") == case.operation.path.count("/") + 1]
    for path in below:
        name = path[path.rindex("{") + 1 : -1]
        for found in ids(response.json()):
            place = {**(case.path_parameters or {}), name: found}
            if place not in PLACES[path]:
                PLACES[path].append(place)
                KNOWN[name].append(found)


def resume(paused):
    """A stop of everything would keep all events from their ends. Those of hosts and organisations stay."""
    request = urllib.request.Request(
        urllib.parse.urljoin(paused, "/v1/dispatch:resume"),
        json.dumps({"everything": True}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()


def forget(case, status):
    """What is not there any more leads nowhere: neither does what was in it."""
    here = (case.path_parameters or {}).items()
    gone = case.operation.method.upper() == "DELETE" and status < 300
    for places in PLACES.values() if gone or status == 404 else ():
        for place in list(places):
            if here and (here <= place.items() if gone else here == place.items()):
                places.remove(place)


def all_paths(case):
    return case.operation.schema.raw_schema["paths"]


def ids(answer):
    """The id of what was answered, or those of a list; either may be a member."""
    if isinstance(answer, dict) and not any(name in answer for name in ("id", "uid")):
        members = [member if isinstance(member, list) else [member] for member in answer.values()]
        answer = [item for member in members for item in member]
    for item in answer if isinstance(answer, list) else [answer]:
        found = item.get("uid", item.get("id")) if isinstance(item, dict) else None
        if isinstance(found, (str, int)):
            yield str(found)


def essence(response):
    return (response.headers.get("content-type") or [""])[0].split(";")[0]


@atexit.register
def report():
    """One line for each operation; those that never went well are named at the end. A few may be out of luck: all of them go
    well in the tests of the examples."""
    failed = [label for label, statuses in STATUSES.items() if not any(200 <= status < 300 for status in statuses)]
    with open(os.environ["FUZZ_API_REPORT"], "w", encoding="utf-8") as out:
        for label, statuses in sorted(STATUSES.items()):
            counts = " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))
            print(f"{label}: {counts}", file=out)
        for label in sorted(failed):
            print(f"never answered with success: {label}", file=out)
        if len(failed) * 10 > len(STATUSES):
            print("too many operations were never answered with success", file=out)
