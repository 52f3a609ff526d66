"""Owns holding an answer against docs/spec/altibiz-openapi.yaml."""

from functools import cache
from typing import Any

import httpx
import yaml

from tests.support.json_schema import problems, resolve
from tests.support.sample import ROOT

ONE = "/network-user-invoices/{network_user_invoice_id}"
MANY = "/network-user-invoices"


@cache
def document() -> dict[str, Any]:
    text = (ROOT / "docs" / "spec" / "altibiz-openapi.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def check_answer(answer: httpx.Response) -> None:
    """Fails unless the contract declares this status for this request, and the body is as it says."""
    is_one = answer.request.url.path.removeprefix("/api/v1").count("/") == 2
    operation = document()["paths"][ONE if is_one else MANY][answer.request.method.lower()]
    declared = operation["responses"].get(str(answer.status_code))
    assert declared is not None, f"{answer.request.method} never answers {answer.status_code}"
    [(media_type, content)] = resolve(document(), declared)["content"].items()
    assert answer.headers["content-type"].split(";")[0] == media_type
    assert problems(document(), content["schema"], answer.json()) == []
