"""What is done to comparisons, over models that answer as they are told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from h2o_relay.errors import InvalidRequest, NotFound, UpstreamUnreachable
from h2o_relay.testing.upstream import until
from h2o_relay_ui.comparison import Setup
from h2o_relay_ui.comparisons import NO_COLUMNS, NO_MODEL, NO_TEXT
from h2o_relay_ui.rounds import NONE, SKIPPED, TIE
from h2o_relay_ui.turns import Turn

from .compare_kit import ME, WITHIN, Bench, bench, shown
from .fakes import Script

pytestmark = pytest.mark.usefixtures("leaves_nothing")
PAIR = Setup().added("a", "b")
DEAD = Script(pieces=(), error=UpstreamUnreachable("no connection to gpu9: refused"))


async def test_every_model_is_asked_and_every_answer_kept() -> None:
    async with bench("a", "b", "c") as one:
        found = await one.ask("Who are you?", PAIR.added("c"))
        [summary] = await one.context.conversations.list(ME, kind="compare")
    assert (summary.id, summary.title) == (one.id, "Who are you?")
    assert [a.params["model"] for a in one.relay.asked] == ["a", "b", "c"]
    assert {a.params["messages"][0]["content"] for a in one.relay.asked} == {"Who are you?"}
    assert [answer["state"] for answer in found.rounds[0].answers.values()] == ["done"] * 3
    assert ["I am a." in text for text in shown(found)] == [True, False, False]


async def test_one_dead_and_one_silent_model_delay_nobody() -> None:
    scripts = {"dead": DEAD, "silent": Script(wait=600)}
    async with bench("a", "b", "dead", "silent", scripts=scripts) as one:
        await one.begin("hi", Setup().added("dead", "silent", "a", "b"))
        turns = one.comparisons.turns(ME, one.id)
        await until(lambda: not turns["2"].running and not turns["3"].running, within=WITHIN)
        found = await one.get()
        assert [answer["state"] for answer in found.rounds[0].answers.values()] == [
            "failed", "running", "done", "done",
        ]  # fmt: skip
        assert "no connection to gpu9: refused" in shown(found)[0]
        one.comparisons.stop(ME, one.id, "1")
        found = await one.ended()
    assert found.rounds[0].answers["1"]["state"] == "stopped"


async def test_one_is_stopped_and_the_others_go_on() -> None:
    endless = Script(endless=True, delay=0.002)
    async with bench("a", "b", scripts={"a": endless, "b": endless}) as one:
        await one.begin("go on", PAIR)
        await until(lambda: all(t.version for t in turns_of(one)), within=WITHIN)
        one.comparisons.stop(ME, one.id, "0")
        await until(lambda: one.relay.asked[0].closed, within=WITHIN)
        assert not one.relay.asked[1].closed
        one.comparisons.stop(ME, one.id)
        found = await one.ended()
        assert one.relay.asked[1].closed
    assert [answer["state"] for answer in found.rounds[0].answers.values()] == ["stopped"] * 2


async def test_columns_keep_their_own_histories() -> None:
    async with bench("a", "b") as one:
        await one.ask("first", PAIR)
        await one.ask("second")
        assert one.told("a") == ["first", "I am a.", "second"]
        assert one.told("b") == ["first", "I am b.", "second"]


async def test_columns_may_share_one_history() -> None:
    async with bench("a", "b") as one:
        await one.ask("first", Setup(PAIR.columns, shared=True, made=2))
        await one.ask("second")
        assert one.told("a") == one.told("b") == ["first", "I am a.", "second"]
        await one.comparisons.choose(ME, one.id, "1")
        await one.ask("third")
        assert one.told("a") == ["first", "I am a.", "second", "I am b.", "third"]
        assert one.told("b") == one.told("a")


async def test_a_failed_answer_is_not_what_a_shared_history_goes_on_with() -> None:
    async with bench("a", "dead", scripts={"dead": DEAD}) as one:
        await one.ask("first", Setup(Setup().added("dead", "a").columns, shared=True, made=2))
        await one.comparisons.choose(ME, one.id, "0")
        await one.ask("second")
        assert one.told("a") == ["first", "I am a.", "second"]


async def test_a_model_is_swapped_in_mid_thread() -> None:
    async with bench("a", "b", "c") as one:
        await one.ask("first", PAIR)
        await one.ask("second", PAIR.swapped("0", "c"))
        found = await one.get()
        assert one.told("c") == ["first", "I am a.", "second"]
    models = [each.answers["0"]["model"] for each in found.rounds]
    assert models == ["a", "c"]
    assert "I am a." in shown(found)[0]
    assert "I am c." in shown(found)[0]


async def test_a_column_that_comes_later_begins_there_and_one_that_goes_is_stopped() -> None:
    async with bench("a", "b", "c", scripts={"b": Script(wait=600)}) as one:
        await one.begin("first", PAIR)
        await until(lambda: len(one.relay.asked) == 2, within=WITHIN)
        await one.comparisons.keep(ME, one.id, PAIR.without("1").added("c"))
        await one.ended()
        assert one.relay.asked[1].closed
        await one.ask("second")
        assert one.told("c") == ["second"]
        assert one.told("a") == ["first", "I am a.", "second"]
        assert len(one.relay.asked) == 4


async def test_one_is_asked_again_in_its_place() -> None:
    async with bench("a", "b", "c") as one:
        await one.ask("first", PAIR)
        before = (await one.ask("second")).rounds
        await one.comparisons.keep(ME, one.id, PAIR.swapped("1", "c"))
        await one.comparisons.retry(ME, one.id, "1")
        found = await one.ended()
        assert one.told("c") == ["first", "I am b.", "second"]
    assert found.rounds[1].answers["0"] == before[1].answers["0"]
    assert found.rounds[1].answers["1"]["model"] == "c"
    assert len(found.rounds) == 2


async def test_asking_again_stops_the_former_answer_and_may_ask_a_new_column() -> None:
    async with bench("a", "b", scripts={"a": Script(wait=600)}) as one:
        await one.begin("first", Setup().added("a"))
        one.relay.scripts["a"] = Script(pieces=("now",))
        await one.comparisons.retry(ME, one.id, "0")
        await one.comparisons.keep(ME, one.id, Setup().added("a", "b"))
        await one.comparisons.retry(ME, one.id, "1")
        found = await one.ended()
        await until(lambda: one.relay.asked[0].closed, within=WITHIN)
    assert found.rounds[0].slots == ["0", "1"]
    assert [answer["content"] for answer in found.rounds[0].answers.values()] == ["now", "I am b."]


async def test_the_next_question_stops_what_still_runs() -> None:
    slow = Script(pieces=("so far",), hold=asyncio.Event())
    async with bench("a", "slow", scripts={"slow": slow}) as one:
        await one.begin("first", Setup().added("slow", "a"))
        await until(lambda: turns_of(one)[0].version, within=WITHIN)
        one.relay.scripts["slow"] = Script()
        found = await one.ask("second")
        assert one.told("slow") == ["first", "so far", "second"]
    assert found.rounds[0].answers["0"]["state"] == "stopped"


async def test_options_are_asked_for_and_kept() -> None:
    async with bench("a", "b") as one:
        texts = {"system": "Be brief.", "temperature": "0,2", "stop": "END", "seed": "7"}
        await one.ask("hi", Setup(PAIR.columns, texts=texts, made=2))
        kept = (await one.get()).setup
        asked = one.relay.asked[1].params
    assert dict(kept.texts) == texts
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (asked["temperature"], asked["stop"], asked["seed"]) == (0.2, ["END"], 7)


async def test_what_cannot_be_asked_is_refused_and_nothing_is_kept() -> None:
    async with bench("a", "b") as one:
        for setup, text, why in (
            (Setup(), "hi", NO_COLUMNS),
            (PAIR.swapped("0", ""), "hi", NO_MODEL),
            (PAIR, "  ", NO_TEXT),
            (Setup(PAIR.columns, texts={"temperature": "hot"}), "hi", "Temperature is 'hot'"),
        ):
            with pytest.raises(InvalidRequest, match=why):
                await one.comparisons.ask(ME, "", setup, text)
        assert await one.context.conversations.list(ME) == []
    assert one.relay.asked == []


@pytest.mark.parametrize(
    ("outcome", "winner"), [("0", "a"), ("1", "b"), (TIE, ""), (NONE, None), (SKIPPED, "unsaid")]
)
async def test_a_vote_is_counted_once(outcome: str, winner: str | None) -> None:
    async with bench("a", "b") as one:
        found = await one.ask("Who?", Setup(PAIR.columns, blind=True, made=2))
        assert found.hidden
        assert sorted(found.rounds[0].slots) == ["0", "1"]
        ends = [one.comparisons.vote(ME, one.id, outcome) for _ in range(3)]
        assert sorted(await asyncio.gather(*ends)) == [False, False, True]
        votes = await one.context.votes.all()
        found = await one.get()
    assert not found.hidden
    assert found.rounds[0].vote == outcome
    if winner == "unsaid":
        assert votes == []
    else:
        [vote] = votes
        assert (sorted(vote.models), vote.winner) == (["a", "b"], winner)
        assert (vote.prompt, vote.conversation) == ("Who?", one.id)


async def test_there_is_no_vote_before_the_end_nor_in_a_round_that_was_not_blind() -> None:
    hold = asyncio.Event()
    async with bench("a", "b", scripts={"b": Script(hold=hold)}) as one:
        await one.begin("Who?", Setup(PAIR.columns, blind=True, made=2))
        assert not await one.comparisons.vote(ME, one.id, "0")
        assert (await one.get()).hidden
        hold.set()
        await one.ended()
        assert not await one.comparisons.vote(ME, one.id, "5")
        assert await one.comparisons.vote(ME, one.id, "0")
        asked = len(one.relay.asked)
        await one.comparisons.retry(ME, one.id, "1")  # the vote was on the answer as it is
        assert len(one.relay.asked) == asked
        await one.ask("Again", PAIR)
        assert not await one.comparisons.vote(ME, one.id, "0")
        assert len(await one.context.votes.all()) == 1


async def test_a_comparison_is_its_owners_alone_and_of_its_kind() -> None:
    async with bench("a", "b") as one, bench("a", kind="grid") as other:
        await one.ask("secret", PAIR)
        with pytest.raises(NotFound):
            await one.comparisons.get("another", one.id)
        with pytest.raises(NotFound):
            await one.comparisons.vote("another", one.id, "0")
        with pytest.raises(NotFound):
            await other.comparisons.ask(ME, one.id, PAIR, "go on")
        chat = await one.context.conversations.create(ME, kind="chat")
        with pytest.raises(NotFound):
            await one.comparisons.get(ME, chat.id)


async def test_it_is_there_after_a_restart_in_mid_stream(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'relay.db'}"
    hold = asyncio.Event()
    script = Script(pieces=("half an",), hold=hold)
    async with bench("a", "b", scripts={"b": script}, url=url) as one:
        await one.begin("hi", PAIR)
        await until(lambda: turns_of(one)[-1].version, within=WITHIN)
    async with bench("a", "b", url=url) as after:
        after.id = one.id
        found = await after.get()
        assert [a["state"] for a in found.rounds[0].answers.values()] == ["done", "stopped"]
        assert found.rounds[0].answers["1"]["content"] == "half an"
        await after.ask("and now?")
        assert after.told("b") == ["hi", "half an", "and now?"]


def turns_of(one: Bench) -> list[Turn]:
    return list(one.comparisons.turns(ME, one.id).values())
