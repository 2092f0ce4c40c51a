"""What schemathesis is told about tidegate: which answers are defects, and how to reach what lies behind known ids.

It runs as the hooks of .ci/fuzz-api. Of three calls of an operation one is made as it was generated, one with ids that
answers have named, one with the example of the description as well.
"""

import atexit
import collections
import json
import os

import schemathesis

STATUSES = collections.defaultdict(collections.Counter)
CALLS = collections.Counter()
KNOWN = collections.defaultdict(lambda: collections.deque(maxlen=8))
NAMES = set()


@schemathesis.check
def no_defect(ctx, response, case):
    """A 5xx passes where a dialect documents it as a refusal. tidegate's own ones are problems: none of them is due here."""
    if response.status_code < 500:
        return
    documented = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    kind = essence(response)
    assert kind in documented.get("content", {}), f"{response.status_code} {kind} is not documented: {response.text[:300]}"
    assert kind != "application/problem+json", f"a defect: {response.text[:300]}"


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def before_call(ctx, case, kwargs):
    CALLS[case.operation.label] += 1
    way = CALLS[case.operation.label] % 3
    NAMES.update(case.path_parameters or {})
    if way == 0:
        return
    turn = CALLS[case.operation.label] // 3
    for values in (case.path_parameters, case.query):
        for name in values or {}:
            if KNOWN[name]:
                values[name] = KNOWN[name][turn % len(KNOWN[name])]
    if way == 1:
        return
    case.headers = {}
    parameters = case.operation.definition.raw.get("parameters", [])
    case.query = {p["name"]: p["example"] for p in parameters if p["in"] == "query" and "example" in p}
    content = case.operation.definition.raw.get("requestBody", {}).get("content", {}).get(case.media_type, {})
    named = [example["value"] for example in content.get("examples", {}).values()]
    examples = [content["example"]] if "example" in content else named
    if examples:
        case.body = json.loads(json.dumps(examples[turn % len(examples)]))
        if isinstance(case.body, dict) and "confirm" in case.body:
            case.body["confirm"] = case.path_parameters["id"]


@schemathesis.hook
def after_call(ctx, case, response):
    STATUSES[case.operation.label][response.status_code] += 1
    if response.status_code < 300 and essence(response) == "application/json":
        collect(response.json())


def essence(response):
    return (response.headers.get("content-type") or [""])[0].split(";")[0]


def collect(value):
    """Remembers what an answer names, by the names of path parameters."""
    if isinstance(value, list):
        for item in value[:8]:
            collect(item)
    elif isinstance(value, dict):
        for name, member in value.items():
            if name in NAMES and isinstance(member, (str, int)) and str(member) not in KNOWN[name]:
                KNOWN[name].append(str(member))
            collect(member)


@atexit.register
def report():
    """One line for each operation; those that never went well are named at the end."""
    failed = [label for label, statuses in STATUSES.items() if not any(200 <= status < 300 for status in statuses)]
    with open(os.environ["FUZZ_API_REPORT"], "w", encoding="utf-8") as out:
        for label, statuses in sorted(STATUSES.items()):
            counts = " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))
            print(f"{label}: {counts}", file=out)
        for label in failed:
            print(f"never answered with success: {label}", file=out)
