"""Holds every example of an API description against the schema beside it, and the description against OpenAPI 3.1.

Usage: check_examples.py DOCUMENT
"""

import json
import sys

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

with open(sys.argv[1], encoding="utf-8") as file:
    DOCUMENT = json.load(file)


def resolved(value):
    """What a reference leads to."""
    while "$ref" in value:
        target = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        value = target
    return value


def examples(described):
    """The examples of a content or parameter."""
    if "example" in described:
        yield described["example"]
    for example in described.get("examples", {}).values():
        yield example["value"]


def places():
    """Everything that has a schema and may have examples, with where it stands."""
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            here = f"{method} {path}"
            for parameter in operation.get("parameters", []):
                yield f"{here} {parameter['name']}", parameter
            bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
            for name, body in bodies.items():
                for kind, content in resolved(body).get("content", {}).items():
                    yield f"{here} {name} {kind}", content


def faults(schema, value):
    # References lead from the root of a schema.
    whole = {**schema, "components": DOCUMENT["components"]}
    validator = Draft202012Validator(whole, format_checker=FormatChecker())
    return [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(value)]


def main():
    problems = [str(fault) for fault in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()]
    seen = 0
    for place, described in places():
        for value in examples(described):
            seen += 1
            problems += [f"{place}: {fault}" for fault in faults(described["schema"], value)]
            # Negative control: no schema is so wide that anything passes.
            if not faults(described["schema"], [[value]]):
                problems.append(f"{place}: a list of lists passes as well")
    for problem in problems:
        print(problem)
    print(f"{seen} examples")
    return 1 if problems or seen < 100 else 0


sys.exit(main())
