"""Owns holding an answer against altibiz-openapi.yaml."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml

import altibiz

ONE = "/network-user-invoices/{network_user_invoice_id}"
MANY = "/network-user-invoices"
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
    "integer": (int,),
}
ANNOTATIONS = {"description", "example", "title", "default"}


@cache
def document() -> dict[str, Any]:
    text = Path(altibiz.__file__).with_name("altibiz-openapi.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = document()
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def problems(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """What in a value breaks its schema; a keyword that this doesn't know is an error, not a pass."""
    schema = resolve(schema)
    found: list[str] = []
    for keyword, rule in schema.items():
        match keyword:
            case "type":
                names = rule if isinstance(rule, list) else [rule]
                if not any(isinstance(value, TYPES[name]) for name in names):
                    return [f"{at}: {value!r} is no {names}"]
            case "required":
                found += [f"{at}: {name} is missing" for name in rule if name not in value]
            case "properties":
                for name in rule.keys() & value.keys():
                    found += problems(value[name], rule[name], f"{at}.{name}")
            case "items":
                for index, item in enumerate(value):
                    found += problems(item, rule, f"{at}[{index}]")
            case "enum":
                found += [] if value in rule else [f"{at}: {value!r} is none of {rule}"]
            case "pattern":
                found += [] if re.search(rule, value) else [f"{at}: {value!r} is not like {rule}"]
            case "minLength":
                found += [f"{at}: too short"] if isinstance(value, str) and len(value) < rule else []
            case "maxLength":
                found += [f"{at}: too long"] if isinstance(value, str) and len(value) > rule else []
            case _:
                assert keyword in ANNOTATIONS, f"{keyword} is not understood here"
    return found


def check_answer(answer: httpx.Response) -> None:
    """Fails unless the contract declares this status for this request, and the body is as it says."""
    is_one = answer.request.url.path.removeprefix("/api/v1").count("/") == 2
    operation = document()["paths"][ONE if is_one else MANY][answer.request.method.lower()]
    declared = operation["responses"].get(str(answer.status_code))
    assert declared is not None, f"{answer.request.method} never answers {answer.status_code}"
    [(media_type, content)] = resolve(declared)["content"].items()
    assert answer.headers["content-type"].split(";")[0] == media_type
    assert problems(answer.json(), content["schema"]) == []
