"""Messages as they are stored."""

from __future__ import annotations

import orjson

from h2o_relay_ui import thread
from h2o_relay_ui.turns import MAX_PACE, PACE, paced


def test_messages_are_json_and_have_ids_of_their_own() -> None:
    question, answer = thread.question("hi"), thread.answer("parrot", "vllm:gpu1")
    assert orjson.loads(orjson.dumps([question, answer])) == [question, answer]
    assert question["id"] != answer["id"]
    assert (answer["state"], answer["content"], answer["error"]) == ("running", "", None)
    assert answer["figures"] == {
        "first_token": None, "seconds": 0.0, "tokens": None, "estimated": False,
        "prompt_tokens": None,
    }  # fmt: skip


def test_what_no_longer_runs_was_stopped() -> None:
    cut, growing = thread.answer("a"), thread.answer("b")
    now = {**growing, "content": "so far"}
    done = {**thread.answer("c"), "state": "done"}
    assert thread.settled([cut, growing, done], {growing["id"]: now}) == [
        {**cut, "state": "stopped"}, now, done,
    ]  # fmt: skip
    assert cut["state"] == "running"


def test_a_message_takes_the_place_of_its_older_self() -> None:
    first, second = thread.question("one"), thread.question("two")
    newer = {**first, "content": "eins"}
    assert thread.put([first, second], newer) == [newer, second]
    assert thread.put([second], newer) == [second]
    assert thread.place_of([first, second], second["id"]) == 1
    assert thread.place_of([first], second["id"]) is None


def test_the_last_question_is_found_behind_answers() -> None:
    talk = [thread.question("one"), thread.answer("a"), thread.question("two"), thread.answer("a")]
    assert thread.last_question(talk) == 2
    assert thread.last_question([]) is None


def test_a_title_is_the_first_words_of_the_first_question() -> None:
    assert thread.title_of([thread.answer("a"), thread.question(" What\n is  it? ")]) == (
        "What is it?"
    )
    long = thread.title_of([thread.question("word " * 40)])
    assert long.endswith("word…")
    assert len(long) <= thread.TITLE_LENGTH + 1
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,A"}}]
    assert thread.title_of([thread.question(image)]) == ""
    assert thread.title_of([]) == ""


def test_the_pace_slows_down_with_the_number_of_answers() -> None:
    assert paced(1) < PACE
    assert paced(25) == 0.1
    assert paced(50) == paced(1000) == MAX_PACE
