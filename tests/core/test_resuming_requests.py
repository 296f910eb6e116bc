"""Which requests can be continued, and what the next server is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from h2o_relay.errors import UpstreamIncomplete
from h2o_relay.openai_shape import request_body
from h2o_relay.resuming import Said, continued, resumable
from h2o_relay.types import Capabilities, Deployment, Kind, Request

from .resuming_kit import COUNTS, IDS, PLAIN, PROMPT, TALK, asked, begun, chunk, event, request

NO_CHAT = Capabilities()


def can_resume(kind: Kind, can: Capabilities = PLAIN, **params: Any) -> bool:
    return resumable(kind, asked(kind, **params), request(kind, **params), can)


PLAIN_TEXT: list[dict[str, Any]] = [
    {},
    {"n": 1, "best_of": None, "tools": [], "tool_choice": "none", "logprobs": False},
    {"response_format": {"type": "text"}, "guided_json": None, "suffix": "", "echo": False},
    {"stop": ["a"], "temperature": 1, "max_tokens": 5, "unknown": {"a": 1}},
]
MORE: list[dict[str, Any]] = [
    {"n": 2}, {"best_of": 2}, {"tools": [{"type": "function"}]}, {"functions": [{"name": "f"}]},
    {"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_schema"}},
    {"guided_regex": "a+"}, {"structured_outputs": {"choice": ["a"]}}, {"grammar": "root ::= a"},
    {"json_schema": {"type": "object"}}, {"logprobs": True}, {"logprobs": 3}, {"echo": True},
    {"suffix": "end"}, {"use_beam_search": True}, {"audio": {"voice": "x"}},
    {"return_token_ids": True}, {"truncate_prompt_tokens": 5},
]  # fmt: skip


class TestWhich:
    @pytest.mark.parametrize("kind", ["chat", "text"])
    @pytest.mark.parametrize("params", PLAIN_TEXT)
    def test_plain_text(self, kind: Kind, params: dict[str, Any]) -> None:
        assert can_resume(kind, **params)

    @pytest.mark.parametrize("kind", ["chat", "text"])
    @pytest.mark.parametrize("params", MORE)
    def test_more_than_text(self, kind: Kind, params: dict[str, Any]) -> None:
        assert not can_resume(kind, **params)

    def test_a_chat_needs_a_server_that_continues(self) -> None:
        assert not can_resume("chat", NO_CHAT)
        assert can_resume("text", NO_CHAT)
        rendered = replace(request("chat"), prompt="user: hi\nbot:")
        assert resumable("chat", rendered.params, rendered, NO_CHAT)

    @pytest.mark.parametrize(
        ("prompt", "can", "expected"),
        [
            (["a"], PLAIN, True), (["a", "b"], PLAIN, False), ([1, 2], PLAIN, False),
            ([1, 2], IDS, True), ([[1, 2]], IDS, True), ([[1], [2]], IDS, False), ([], IDS, False),
            (None, IDS, False), ([1, 2], COUNTS, False),
        ],
    )  # fmt: skip
    def test_prompts(self, prompt: Any, can: Capabilities, expected: bool) -> None:
        assert can_resume("text", can, prompt=prompt) is expected

    @pytest.mark.parametrize(
        ("content", "more", "expected"),
        [
            ("So", {"continue_final_message": True}, True),
            ("So", {}, False),
            ([{"type": "text", "text": "So"}], {"continue_final_message": True}, False),
        ],
    )
    def test_talks_that_end_with_the_assistant(
        self, content: Any, more: dict[str, Any], expected: bool
    ) -> None:
        messages = [*TALK, {"role": "assistant", "content": content}]
        assert can_resume("chat", messages=messages, **more) is expected


def after(text: str, kind: Kind, can: Capabilities = PLAIN, **params: Any) -> Said:
    said = begun(kind, can, **params)
    said.take(chunk(*(event(piece, kind) for piece in text)))
    return said


def rest(said: Said, fresh: Request, can: Capabilities = PLAIN) -> Any:
    """The body that goes to the next server."""
    params, changes = continued(fresh.kind, fresh.params, fresh, said, can)
    return orjson.loads(request_body(replace(fresh, params=params, **changes)))


class TestTheRest:
    def test_of_a_text(self) -> None:
        body = rest(after("so ", "text"), request("text", temperature=0))
        assert body == {**asked("text", temperature=0), "model": "theirs", "prompt": f"{PROMPT}so "}
        assert rest(after("so", "text"), request("text", prompt=["a "]))["prompt"] == "a so"

    def test_of_a_rendered_talk(self) -> None:
        fresh = replace(request("chat"), prompt="user: hi\nbot:")
        assert rest(after(" so ", "chat"), fresh)["prompt"] == "user: hi\nbot: so "

    def test_of_a_talk(self) -> None:
        body = rest(after("so \n", "chat"), request("chat", add_generation_prompt=True))
        assert body["messages"] == [*TALK, {"role": "assistant", "content": "so \n"}]
        flags = (body["continue_final_message"], body["add_generation_prompt"])
        assert flags == (True, False)

    def test_a_template_may_lose_white_space(self) -> None:
        """So it is not given any: the server says it again, and that is left out."""
        said = after("so \n", "chat", IDS)
        assert rest(said, request("chat"), IDS)["messages"][-1]["content"] == "so"
        said.resumed += 1
        good, _ = said.take(chunk(event(" \nthen")))
        assert good is not None
        assert (good.text, said.text) == ("then", "so \nthen")

    def test_white_space_alone_is_said_again_from_the_beginning(self) -> None:
        body = rest(after("\n", "chat", IDS), request("chat"), IDS)
        assert body["messages"] == TALK
        assert "continue_final_message" not in body

    def test_tokens_of_white_space_count_when_they_come_again(self) -> None:
        """Whoever was asked in between, and did not answer."""
        said = after("so \n", "chat", IDS, max_tokens=10)
        for can, left in [(IDS, 8), (PLAIN, 6), (IDS, 8), (IDS, 8)]:
            assert rest(said, request("chat", max_tokens=10), can)["max_tokens"] == left

    def test_of_an_answer_that_the_caller_began(self) -> None:
        messages = [*TALK, {"role": "assistant", "content": "Well, ", "name": "x"}]
        fresh = request("chat", messages=messages, continue_final_message=True)
        last = rest(after("so", "chat"), fresh)["messages"][-1]
        assert last == {"role": "assistant", "content": "Well, so", "name": "x"}
        assert len(messages) == 2

    def test_by_ids_of_the_same_model_alone(self) -> None:
        told = {"token_ids": [1], "prompt_token_ids": [7, 8]}
        said = begun("text", IDS)
        said.take(chunk(event("a", "text", choice=told)))
        other = replace(request("text"), deployment=Deployment(
            name="public", server=request("text").deployment.server, model="other"))  # fmt: skip
        assert rest(said, other, IDS)["prompt"] == f"{PROMPT}a"
        assert rest(said, request("text"), COUNTS)["prompt"] == f"{PROMPT}a"
        body = rest(said, request("text"), IDS)
        assert body["prompt"] == [7, 8, 1]
        assert body["return_token_ids"] is True

    def test_ids_that_nobody_told(self) -> None:
        with pytest.raises(UpstreamIncomplete, match="token ids"):
            rest(after("a", "text", IDS), request("text", prompt=[1, 2]), IDS)

    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict"])
    def test_the_limit_is_lowered(self, name: str) -> None:
        said = after("abc", "chat", **{name: 10})
        assert rest(said, request("chat", **{name: 10}))[name] == 7

    def test_other_limits(self) -> None:
        body = rest(
            after("abc", "chat"), request("chat", max_tokens=None, n_predict=-1, min_tokens=2)
        )
        assert (body["max_tokens"], body["n_predict"], body["min_tokens"]) == (None, -1, 0)

    def test_the_callers_request_stays_as_it_was(self) -> None:
        fresh = request("text", max_tokens=9)
        before = orjson.dumps(fresh.params)
        rest(after("abc", "text"), fresh)
        assert orjson.dumps(fresh.params) == before


class TestAsking:
    def test_a_server_is_asked_to_tell_its_tokens(self) -> None:
        fresh = replace(request("text"), body=b"{}")
        Said("text").begin(fresh, IDS)
        assert fresh.params["return_token_ids"] is True
        assert fresh.body is None

    def test_bytes_stay_where_nothing_is_asked(self) -> None:
        fresh = replace(request("text"), body=b"{}")
        Said("text").begin(fresh, PLAIN)
        assert fresh.body == b"{}"

    def test_what_the_caller_asks_itself_is_shown(self) -> None:
        said = begun("chat", COUNTS, timings_per_token=True)
        told = event("a", timings={"predicted_n": 5})
        assert said.take(chunk(told))[0].events() == [told]  # type: ignore[union-attr]
        assert said.tokens == 5

    def test_what_only_we_asked_for_is_not(self) -> None:
        """llama.cpp tells its timings at the end of every answer: there they stay."""
        said = begun("chat", COUNTS)
        times = {"timings": {"predicted_n": 5, "prompt_n": 2, "cache_n": 1}}
        last = event(None, choice={"finish_reason": "stop"}, **times)
        good, _ = said.take(chunk(event("a", **times), last))
        assert good is not None
        assert good.events() == [event("a"), last]
        assert (said.tokens, said.prompt_tokens) == (5, 3)
