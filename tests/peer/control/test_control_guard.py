"""The form of answers; that the guards stand before every route is shown in test_control."""

from __future__ import annotations

import json

from peer.control.control_guard import answer_of, problem
from peer.errors import UnknownFolder


def test_nobody_keeps_an_answer_or_takes_it_for_something_else() -> None:
    answer = answer_of({"a": "ü"}, 200, "application/json")
    assert json.loads(bytes(answer.body)) == {"a": "ü"}
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


def test_an_error_is_a_problem_document() -> None:
    answer = problem(UnknownFolder("There is no folder 'x'."))
    content = json.loads(bytes(answer.body))
    assert answer.status_code == content["status"] == 404
    assert answer.media_type == "application/problem+json"
    assert (content["code"], content["exit_code"]) == ("unknown_folder", 20)
    assert content["detail"] == "There is no folder 'x'."
