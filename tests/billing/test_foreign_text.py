"""Foreign text reaches a terminal or a log without the characters that steer it."""

import json

from billing.foreign_text import spelt_out, spelt_out_json, steers


def test_what_steers_is_spelt_out_and_the_rest_stays() -> None:
    assert spelt_out("a\x1b[31mb\u202ec\x7f") == r"a\x1b[31mb\u202ec\x7f"
    assert spelt_out("Čakovec\t1\n") == "Čakovec\t1\n"
    assert [steers(each) for each in ("\x1b", "\u2066", "\ud800", "\t\n", "Č")] == [True, True, True, False, False]


def test_json_stays_json_that_says_the_same() -> None:
    document = json.dumps({"title": "\u202eČakovec\ue000\x9b"}, ensure_ascii=False)
    assert spelt_out_json(document) == '{"title": "\\u202eČakovec\ue000\\u009b"}'
    assert json.loads(spelt_out_json(document)) == json.loads(document)
    assert spelt_out_json('"\ud800\udfff"') == '"??"', "not every reader takes half of a pair"
