"""Holds a value against a schema of an OpenAPI document: the part of JSON Schema that ours use."""

import re
from datetime import datetime
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "null": (type(None),), "object": (dict,), "array": (list,), "integer": (int,),
}  # fmt: skip
FORMATS = {"date-time", "uri"}
ANNOTATIONS = {"description", "example", "title", "default"}


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The node, or what its $ref leads to."""
    while "$ref" in node:
        found: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def problems(document: dict[str, Any], schema: dict[str, Any], value: Any, at: str = "$") -> list[str]:
    """What in a value breaks its schema; a keyword that this doesn't know is an error, not a pass."""
    schema = resolve(document, schema)
    names = schema.get("type", [])
    if names and not any(isinstance(value, TYPES[name]) for name in ([names] if isinstance(names, str) else names)):
        return [f"{at}: {value!r} is no {names}"]
    found: list[str] = []
    for keyword, rule in schema.items():
        match keyword:
            case "required":
                found += [f"{at}: {name} is missing" for name in rule if name not in value]
            case "properties":
                for name in rule.keys() & value.keys():
                    found += problems(document, rule[name], value[name], f"{at}.{name}")
            case "additionalProperties":
                for name in value.keys() - schema.get("properties", {}).keys():
                    found += problems(document, rule, value[name], f"{at}.{name}") if rule else [f"{at} has {name}"]
            case "propertyNames":
                for name in value:
                    found += problems(document, rule, name, f"{at}: the name {name}")
            case "items":
                for index, item in enumerate(value):
                    found += problems(document, rule, item, f"{at}[{index}]")
            case "enum":
                found += [] if value in rule else [f"{at}: {value!r} is none of {rule}"]
            case "pattern":
                found += [] if re.search(rule, value) else [f"{at}: {value!r} is not like {rule}"]
            case "minLength":
                found += [f"{at}: too short"] if isinstance(value, str) and len(value) < rule else []
            case "maxLength":
                found += [f"{at}: too long"] if isinstance(value, str) and len(value) > rule else []
            case "format":
                assert rule in FORMATS, f"the format {rule} is not understood here"
                if rule == "date-time" and datetime.fromisoformat(value).tzinfo is None:
                    found.append(f"{at} has no zone")
            case _:
                assert keyword in {*ANNOTATIONS, "type"}, f"{keyword} is not understood here"
    return found
