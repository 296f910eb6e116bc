"""What the page does, against a real API without a browser."""

from __future__ import annotations

import asyncio

import pytest

from h2o_relay.testing import echo
from h2o_relay.testing.upstream import until
from h2o_relay_ui.assistant import Wishes
from h2o_relay_ui.conversation import remark, said

from .kit import KEY, asked, lines, page

pytestmark = pytest.mark.usefixtures("leaves_nothing")


async def test_an_answer_grows_to_its_end() -> None:
    async with page("echo:echo?delay=0.02") as assistant:
        text = "one two three four five six seven eight"
        seen = [h async for h in assistant.answer(asked(text), Wishes(), "s")]
    assert len(seen) > 2
    texts = [lines(history)[-1] for history in seen]
    assert texts == sorted(texts, key=len)
    assert lines(seen[-1]) == [text, text]
    assert seen[-1][1] == said("assistant", text)


async def test_the_end_is_shown_however_fast_it_comes() -> None:
    text = " ".join(map(str, range(200)))
    async with page() as assistant:
        seen = [h async for h in assistant.answer(asked(text), Wishes(), "s")]
    assert lines(seen[-1])[-1] == text
    assert len(seen) < 20


async def test_what_was_chosen_is_asked_for_and_nothing_else() -> None:
    wishes = Wishes("parrot", "Be brief.", "0,5", " 7 ")
    async with page("echo:macaw", "echo:parrot") as assistant:
        assert await assistant.models() == ["macaw", "parrot"]
        async for _ in assistant.answer(asked("hi"), wishes, "s"):
            pass
        async for _ in assistant.answer(asked("hi"), Wishes("", "", "", None), "s"):
            pass
    first, second = (dict(request.params) for request in echo.journal.requests)
    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("parrot", 0.5, 7)
    assert set(second) == {"model", "messages", "stream"}
    assert second["model"] == "macaw"


@pytest.mark.parametrize(
    ("wishes", "line"),
    [
        (Wishes(temperature="hot"), "Temperature is 'hot', which is not a number."),
        (Wishes(temperature="nan"), "Temperature must be finite."),
        (Wishes(max_tokens="1.5"), "Max tokens is '1.5', which is not a whole number."),
    ],
)
async def test_a_field_that_cannot_be_read_is_named(wishes: Wishes, line: str) -> None:
    async with page() as assistant:
        seen = [h async for h in assistant.answer(asked("hi"), wishes, "s")]
    assert seen[-1][1:] == [remark("⚠ No answer.", line)]
    assert echo.journal.requests == []


async def test_without_a_question_nothing_is_asked() -> None:
    async with page() as assistant:
        assert [h async for h in assistant.answer([], Wishes(), "s")] == []
        done = [*asked("hi"), said("assistant", "hi")]
        assert [h async for h in assistant.answer(done, Wishes(), "s")] == []
    assert echo.journal.requests == []


@pytest.mark.parametrize(
    ("question", "said_before", "title", "line"),
    [
        ("!refuse 400", "", "⚠ No answer.", "the echo refuses, as it was told to"),
        ("!refuse 500", "", "⚠ No answer.", "the upstream server answered 500"),
        ("!break 2 a b", "!break 2 ", "⚠ The answer broke off.", "the echo broke off, as it was"),
        ("!cut 1 a b", "!cut ", "⚠ The answer broke off.", "the echo went away, as it was told to"),
    ],
)
async def test_what_went_wrong_is_said_in_the_thread(
    question: str, said_before: str, title: str, line: str
) -> None:
    async with page() as assistant:
        seen = [h async for h in assistant.answer(asked(question), Wishes(), "s")]
    last = lines(seen[-1])
    assert last[1:-1] == ([said_before] if said_before else [])
    assert last[-1].startswith(f"**{title}**")
    assert line in last[-1].replace("\\", "")


async def test_a_model_that_is_gone_is_named() -> None:
    async with page() as assistant:
        seen = [h async for h in assistant.answer(asked("hi"), Wishes("eko"), "s")]
    assert "The model `eko` does not exist. Did you mean echo?" in lines(seen[-1])[-1].replace(
        "\\", ""
    )


async def test_a_wrong_key_is_explained_in_a_line() -> None:
    async with page(key="sk-wrong", api_key=KEY) as assistant:
        assert await assistant.models() == []
        seen = [h async for h in assistant.answer(asked("hi"), Wishes(), "s")]
    line = lines(seen[-1])[-1].replace("\\", "")
    assert line == "**⚠ No answer.** No model can be asked. The API key is not correct."
    assert echo.journal.requests == []


async def test_leaving_an_answer_closes_the_upstream() -> None:
    async with page("echo:echo?delay=0.05") as assistant:
        answer = assistant.answer(asked("a b c d e f g h i j k l m n o p"), Wishes(), "s")
        await anext(answer)
        await answer.aclose()
        assert await until(lambda: echo.journal.cancelled == 1, within=1) < 0.5
    assert echo.journal.finished == 0


async def test_cancelling_before_the_first_word_closes_the_upstream() -> None:
    async with page("echo:echo?delay=30") as assistant:
        task = asyncio.ensure_future(anext(assistant.answer(asked("a b"), Wishes(), "s")))
        await until(lambda: len(echo.journal.requests) == 1, within=1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: echo.journal.cancelled == 1, within=0.5)


async def test_closing_a_page_ends_its_answers_only() -> None:
    async with page("echo:echo?delay=0.05") as assistant:

        async def ask(session: str) -> list[str]:
            seen = [h async for h in assistant.answer(asked("a b c d e f"), Wishes(), session)]
            return lines(seen[-1])

        gone, stays = asyncio.ensure_future(ask("gone")), asyncio.ensure_future(ask("stays"))
        await until(lambda: len(echo.journal.requests) == 2, within=1)
        assistant.leave("gone")
        assistant.leave("nobody")
        await until(lambda: echo.journal.cancelled == 1, within=0.5)
        assert (await gone)[-1] != "a b c d e f"
        assert (await stays)[-1] == "a b c d e f"
        assert assistant._running == {}
