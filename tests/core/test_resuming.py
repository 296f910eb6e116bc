"""One stream out of several: what goes on, what is held to be whole, what is not continued."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from h2o_relay.chunks import Chunk
from h2o_relay.errors import (
    IdleTimeout,
    PluginError,
    RateLimited,
    RelayError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamIncomplete,
    UpstreamRejected,
    UpstreamResponseTooLarge,
)
from h2o_relay.resuming import Said, continued, resuming
from h2o_relay.types import Capabilities, Kind

from .resuming_kit import IDS, PLAIN, TALK, begun, chunk, event, request, texts

pytestmark = pytest.mark.usefixtures("leaves_nothing")
ROLE = event("", delta={"role": "assistant"})
STOP = event(None, choice={"finish_reason": "stop"})
GONE = UpstreamDisconnected("gone")
Step = dict[str, Any] | bytes | RelayError


async def says(*steps: Step) -> AsyncGenerator[Chunk, None]:
    """A server's stream: events, raw bytes and errors."""
    for step in steps:
        if isinstance(step, RelayError):
            raise step
        yield Chunk(step) if isinstance(step, bytes) else chunk(step)


async def heard(
    said: Said, *servers: Sequence[Step], **params: Any
) -> tuple[list[dict[str, Any]], RelayError | None]:
    """The events of an answer that these servers give in turn, and the error at its end."""
    waiting = [says(*steps) for steps in servers]

    async def again(error: RelayError) -> AsyncGenerator[Chunk, None]:
        if not waiting:
            raise error
        kind: Kind = "chat" if said._chat else "text"
        fresh = request(kind, **params)
        continued(kind, fresh.params, fresh, said, PLAIN)
        return waiting.pop(0)

    events: list[dict[str, Any]] = []
    try:
        async with aclosing(resuming(waiting.pop(0), said, again)) as chunks:
            async for one in chunks:
                events += one.events()
    except RelayError as error:
        return events, error
    finally:
        for left in waiting:
            await left.aclose()
    return events, None


class TestWhatGoesOn:
    async def test_without_a_break_the_bytes_are_the_servers(self) -> None:
        raw = b'data: {"id":"a", "choices":[{"index":0,"delta":{"content":"caf\\u00e9"}}]}\n\n'
        said = begun("chat")
        one = Chunk(raw, checked=True)
        assert said.take(one) == (one, None)
        assert (said.text, said.tokens, said.resumed) == ("caf\u00e9", 1, 0)

    async def test_the_rest_is_the_firsts(self) -> None:
        later = {"id": "b", "created": 9, "model": "n"}
        answer, error = await heard(
            begun("chat"),
            [ROLE, event("a"), event("b"), GONE],
            [{**ROLE, **later}, event("c", **later), {**STOP, **later}],
        )
        assert error is None
        assert answer == [ROLE, event("a"), event("b"), event("c"), STOP]

    async def test_a_role_with_words_loses_the_role_alone(self) -> None:
        answer, _ = await heard(
            begun("chat"), [event("a"), GONE], [event("b", delta={"role": "assistant"}), STOP]
        )
        assert answer == [event("a"), event("b"), STOP]

    async def test_what_came_with_the_error_goes_on_first(self) -> None:
        bad = orjson.dumps({"error": {"message": "out of memory", "code": 500}})
        both = chunk(event("b")).raw + b"data: " + bad + b"\n\n" + chunk(event("x")).raw
        answer, error = await heard(begun("chat"), [event("a"), both], [event("c"), STOP])
        assert error is None
        assert texts(answer) == "abc"

    async def test_usage_of_all_servers(self) -> None:
        usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15, "x": 1}
        spent = {**event(None), "choices": [], "usage": usage}
        answer, _ = await heard(
            begun("chat"), [event("a"), event("b"), GONE], [event("c"), STOP, spent]
        )
        assert answer[-1]["usage"] == {
            "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "x": 1,
        }  # fmt: skip

    async def test_the_next_one_begins_anew_where_only_a_role_was_said(self) -> None:
        said = begun("chat")
        answer, error = await heard(said, [ROLE, GONE], [ROLE, event("a"), STOP])
        assert error is None
        assert answer == [ROLE, event("a"), STOP]
        assert said.resumed == 1

    async def test_resumed_grows_before_the_first_chunk_after_the_seam(self) -> None:
        said = begun("text")
        waiting = [says(event("b", "text"), GONE), says(event("c", "text"), event(
            "", "text", choice={"finish_reason": "stop"}))]  # fmt: skip

        async def again(error: RelayError) -> AsyncGenerator[Chunk, None]:
            fresh = request("text")
            continued("text", fresh.params, fresh, said, PLAIN)
            return waiting.pop(0)

        first = says(event("a", "text"), GONE)
        counts = [(one.text, said.resumed) async for one in resuming(first, said, again)]
        assert counts == [("a", 0), ("b", 1), ("c", 2), ("", 2)]


class TestWhatIsWhole:
    @pytest.mark.parametrize("late", [GONE, IdleTimeout("late"), b"data: {broken\n\n"])
    async def test_after_the_finish_nothing_breaks(self, late: Step) -> None:
        answer, error = await heard(begun("chat"), [event("a"), STOP, late], [event("b")])
        assert error is None
        assert answer == [event("a"), STOP]

    async def test_a_server_that_gives_no_finish_reasons(self) -> None:
        no = Capabilities(finishes=False)
        answer, error = await heard(begun("chat", no), [event("a")], [event("b")])
        assert (texts(answer), error) == ("a", None)

    async def test_an_empty_stream_is_left_to_the_kernel(self) -> None:
        assert await heard(begun("chat"), [], [event("b")]) == ([], None)


CALL = event(None, delta={"tool_calls": [{"index": 0, "function": {"name": "f"}}]})
THOUGHT = event(None, delta={"reasoning_content": "hm"})
SECOND = event("x", choice={"index": 1})
HALF = event("\ufffd")


class TestWhatIsNot:
    @pytest.mark.parametrize("bound", [CALL, THOUGHT, SECOND, HALF])
    async def test_more_than_text(self, bound: dict[str, Any]) -> None:
        answer, error = await heard(begun("chat"), [event("a"), bound, GONE], [event("b")])
        assert answer == [event("a"), bound]
        assert error is GONE

    @pytest.mark.parametrize(
        "fault",
        [UpstreamRejected(400, {"message": "no"}), UpstreamResponseTooLarge("big"),
         PluginError("bug")],
    )  # fmt: skip
    async def test_faults_that_would_come_again(self, fault: RelayError) -> None:
        answer, error = await heard(begun("chat"), [event("a"), fault], [event("b")])
        assert (texts(answer), error) == ("a", fault)

    @pytest.mark.parametrize("fault", [GONE, IdleTimeout("late"), RateLimited("slowly")])
    async def test_faults_that_another_has_not(self, fault: RelayError) -> None:
        answer, error = await heard(begun("chat"), [event("a"), fault], [event("b"), STOP])
        assert (texts(answer), error) == ("ab", None)

    async def test_nothing_was_said(self) -> None:
        assert await heard(begun("chat"), [GONE], [event("b")]) == ([], GONE)

    async def test_nobody_is_left(self) -> None:
        answer, error = await heard(begun("chat"), [event("a"), GONE])
        assert (texts(answer), error) == ("a", GONE)
        answer, error = await heard(begun("chat"), [event("a")])
        assert (texts(answer), type(error)) == ("a", UpstreamIncomplete)

    async def test_a_rest_that_is_thought_anew(self) -> None:
        """Its server takes what was said for the question, or its template hides it."""
        answer, error = await heard(begun("chat"), [event("a"), GONE], [event("b"), THOUGHT])
        assert texts(answer) == "ab"
        assert isinstance(error, UpstreamBadResponse)
        assert "reasoning_content" in error.message

    async def test_our_key_is_in_no_error(self) -> None:
        bad = orjson.dumps({"error": {"message": "key sk-0123456789 is bad"}})
        _, error = await heard(begun("chat"), [event("a"), b"data: " + bad + b"\n\n"])
        assert error is not None
        assert "sk-0123" not in error.message


class TestStopsAcrossTheSeam:
    async def test_the_answer_ends_there(self) -> None:
        said = begun("chat", stop=["END"])
        servers: list[list[Step]] = [[event("aE"), GONE], [event("N"), event("D and on"), STOP]]
        answer, error = await heard(said, *servers, stop=["END"])
        assert error is None
        assert answer == [event("aE"), event("", choice={"finish_reason": "stop"})]
        assert said.finished

    async def test_what_was_held_is_said(self) -> None:
        servers: list[list[Step]] = [[event("aE"), GONE], [event("N"), event("X"), STOP]]
        answer, _ = await heard(begun("chat", stop=["END"]), *servers, stop=["END"])
        assert texts(answer) == "aENX"
        servers = [[event("aE"), GONE], [event("N"), STOP]]
        answer, _ = await heard(begun("chat", stop=["END"]), *servers, stop=["END"])
        assert texts(answer) == "aEN"


class TestTokens:
    async def test_ids_end_with_the_text(self) -> None:
        """The last id brought no text yet: half a character."""
        said = begun("text", IDS)
        for text, ids in [("a", [1]), ("", [2]), ("b", [3]), ("", [4])]:
            said.take(chunk(event(text, "text", choice={
                "token_ids": ids, "prompt_token_ids": [7, 8]})))  # fmt: skip
        assert said.token_ids == [7, 8, 1, 2, 3]
        assert (said.tokens, said.prompt_tokens) == (3, 2)

    @pytest.mark.parametrize("params", [{}, {"stop": ["END"]}])
    async def test_ids_that_may_be_ahead_of_the_text(self, params: dict[str, Any]) -> None:
        """Several at once; or a server that holds text back, looking for a stop string."""
        ids = [1] if params else [1, 2]
        said = begun("text", IDS, **params)
        said.take(chunk(event("a", "text", choice={
            "token_ids": ids, "prompt_token_ids": [7]})))  # fmt: skip
        assert said.token_ids is None

    async def test_a_server_that_did_not_speak_takes_nothing_away(self) -> None:
        said = begun("text", IDS)
        said.take(chunk(event("a", "text", choice={"token_ids": [1], "prompt_token_ids": [7]})))
        for _ in range(3):  # of which none answers
            fresh = request("text")
            fields, _ = continued("text", fresh.params, fresh, said, IDS)
            assert fields["prompt"] == [7, 1]
        assert said.tokens == 1

    async def test_the_talk_is_not_touched(self) -> None:
        before = orjson.dumps(TALK)
        await heard(begun("chat"), [event("a"), GONE], [event("b"), STOP])
        assert orjson.dumps(TALK) == before
