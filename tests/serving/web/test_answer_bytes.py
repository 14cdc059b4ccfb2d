import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.answer import Answer
from serving.web.answer_bytes import AnswerResponse, as_list, as_object

ANSWER = Answer("cat", 3, 0.93, 2, 14_000_000, 150e6, "digits")

finite = st.floats(allow_nan=False, allow_infinity=False)


def as_the_library_writes_it(answer: Answer) -> str:
    known = asdict(answer)
    for elsewhere in (
        "probabilities",
        "exits",
        "budget_share",
        "budget_seconds",
        "seconds",
        "image",
    ):  # by a form, a header, in Python
        del known[elsewhere]
    if answer.deadline_met is None:
        del known["deadline_met"]
    return json.dumps(known)


@given(
    st.builds(
        Answer,
        class_name=st.text(),
        class_index=st.integers(0, 10**6),
        confidence=finite,
        exit=st.integers(1, 99),
        flops=st.integers(0, 10**15),
        budget_flops=finite,
        model=st.text(),
        deadline_met=st.sampled_from([None, True, False]),
    )
)
def test_the_bytes_are_those_of_the_json_library(answer: Answer) -> None:
    assert as_object(answer) == as_the_library_writes_it(answer)


def test_an_answer_under_a_budget_in_time_says_both_times() -> None:
    told = json.loads(as_object(replace(ANSWER, budget_seconds=0.008, seconds=0.0051234567)))
    assert (told["budget_ms"], told["ms"]) == (8.0, 5.12346)
    assert "ms" not in json.loads(as_object(ANSWER))


def test_a_list_is_an_object_of_results() -> None:
    other = replace(ANSWER, class_name='a "dog"\n', deadline_met=False)
    assert json.loads(as_list([as_object(ANSWER), as_object(other)])) == {
        "results": [json.loads(as_object(answer)) for answer in (ANSWER, other)]
    }


@pytest.mark.parametrize("name", ["confidence", "budget_flops"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_word_for_is_an_error(name: str, value: float) -> None:
    changed: dict[str, float] = {name: value}
    with pytest.raises(ValueError, match="finite"):
        as_object(replace(ANSWER, **changed))  # type: ignore[arg-type]


def test_a_response_says_its_type_and_its_length() -> None:
    response = AnswerResponse([ANSWER], listed=False)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.body))
    assert json.loads(bytes(AnswerResponse([ANSWER], listed=True).body)) == {
        "results": [json.loads(bytes(response.body))]
    }
