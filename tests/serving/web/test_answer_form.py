"""What answers say beside the likeliest class, over the route."""

import base64
import json

import pytest

from tests.serving.web.fakes import FakeModel, fake_service
from tests.serving.web.posting import IMAGE, IMAGES, JSON, NPY, npy, post


def test_the_likeliest_classes_and_all_probabilities() -> None:
    model = FakeModel()
    answer = post(fake_service(model)[0], "/classify?top_k=2&probabilities=1", npy(IMAGES[:1] * 0 + 2), NPY)
    (result,) = answer.json()["results"]
    assert result["top"] == [
        {"class_name": "cat", "class_index": 2, "probability": 0.5},
        {"class_name": "ant", "class_index": 0, "probability": pytest.approx(1 / 6)},
    ]
    assert result["probabilities"] == pytest.approx([1 / 6, 1 / 6, 0.5, 1 / 6])
    assert model.asked[0][1].probabilities
    plain = post(fake_service(model)[0], "/classify", npy(IMAGES[:1]), NPY).json()["results"][0]
    assert not {"top", "probabilities", "exits"} & set(plain)
    assert not model.asked[1][1].probabilities


def test_one_bad_image_need_not_fail_the_others() -> None:
    model = FakeModel()
    images = [base64.b64encode(part).decode() for part in (b"no image", IMAGE, b"GIF89a", IMAGE)]
    images[2] = "%%%"
    body = json.dumps({"images": images})
    results = post(fake_service(model)[0], "/classify?on_error=item", body, JSON).json()["results"]
    assert [("problem" in result, result.get("exit")) for result in results] == [
        (True, None),
        (False, 1),
        (True, None),
        (False, 1),
    ]
    assert results[0]["problem"]["status"] == 415
    assert "images[2]: expected base64" in results[2]["problem"]["detail"]
    assert len(model.asked[0][0]) == 2
    whole = post(fake_service(model)[0], "/classify", body, JSON)
    assert (whole.status_code, len(model.asked)) == (415, 1)


def test_a_list_without_a_good_image_is_answered_with_problems_alone() -> None:
    model = FakeModel()
    answer = post(fake_service(model)[0], "/classify?on_error=item", json.dumps({"images": ["%", "%"]}), JSON)
    assert [list(result) for result in answer.json()["results"]] == [["problem"], ["problem"]]
    assert (answer.status_code, model.asked) == (200, [])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("top_k=0", "a number of classes"),
        ("top_k=all", "found 'all'"),
        ("probabilities=yes", "probabilities=1 or probabilities=0"),
        ("explain=2", "explain=1 or explain=0"),
        ("on_error=skip", "on_error=request or on_error=item"),
        ("explain=1&mode=hard", "contradict each other"),
        ("explain=1&deadline_ms=5", "contradict each other"),
    ],
)
def test_what_answers_cannot_say(query: str, said: str) -> None:
    answer = post(fake_service()[0], f"/classify?{query}", npy(IMAGES[:1]), NPY)
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.json()


def test_where_the_time_went_is_told_where_it_is_asked_for() -> None:
    header = post(fake_service()[0], "/classify?timings=1").headers["server-timing"]
    assert header.startswith("decode;dur=")
    assert "stage1;dur=2.000" in header
    assert "server-timing" not in post(fake_service()[0], "/classify?timings=0").headers
    assert post(fake_service()[0], "/classify?timings=yes").status_code == 422
