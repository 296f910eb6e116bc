"""The models tab's rows: what they say, and that nothing in them is more than text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.admin import Found, FoundModel, Tried
from h2o_relay.health import STATES
from h2o_relay_ui import models_rows as rows
from h2o_relay_ui import models_states, words

from .fakes import STARTED, pool, view

NOW = STARTED
CSS = Path(models_states.__file__).with_name("models.css")
OURS = {"div", "span", "dl", "dt", "dd"}
ATTRIBUTES = {"class", "title", "data-name", "style"}
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "</span></div><iframe src=//evil.example></iframe>",
    "a\n\n# heading\n\n[link](javascript:alert(1))",
    "&lt;script&gt; $$\\href{javascript:alert(1)}{x}$$ `code`",
    "\u202egnp.exe \u0000 \u2066",
)


class Read(HTMLParser):
    """The tags, attributes and text of a piece of HTML."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(source: str) -> Read:
    read = Read(source)
    assert read.tags <= OURS, source
    assert read.attributes <= ATTRIBUTES, source
    assert read.open == []
    assert "\n" not in source  # Markdown would begin again after a blank line
    assert all(each.isprintable() for each in source)
    return read


@pytest.mark.parametrize("word", HOSTILE)
def test_a_hostile_name_is_only_text(word: str) -> None:
    one = view(
        word, server=word, reason=word, plugin=word, model=word + "2", prompt_type=word,
        kinds=(word,), state="offline", last_error=word + "3",
    )  # fmt: skip
    group = pool(word, word, strategy=word, state=word, reason=word)
    found = Found(server=word, plugin=word, url=word, kinds=(word,), problem=word,
                  models=(FoundModel(id=word, max_context=1, kinds=None),))  # fmt: skip
    pieces = (
        rows.listed([one], one, NOW),
        rows.details(one, 2, NOW),
        rows.listed([group], group, NOW),
        rows.details(group, 1, NOW, {word: word}),
        rows.found(found),
        rows.tried(word, Tried(ok=True, seconds=1, text=word)),
        rows.tried(word, Tried(ok=False, seconds=1, text=word)),
        rows.note(word),
    )
    line = " ".join(word.split())
    shown = "".join(each if each.isprintable() else "\ufffd" for each in line)
    for piece in pieces:
        assert shown in harmless(piece).text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "under a minute"),
        (59.9, "under a minute"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (2 * 86400 - 1, "47 h"),
        (2 * 86400, "2 days"),
        (86400 * 400, "400 days"),
    ],
)
def test_durations_are_said_by_their_largest_unit(seconds: float, expected: str) -> None:
    assert words.duration(seconds) == expected


def test_figures_are_short() -> None:
    assert [words.seconds(s) for s in (None, 0.214, 9.994, 9.996, 61.4)] == [
        "–", "0.21 s", "9.99 s", "10 s", "61 s",  # noqa: RUF001
    ]  # fmt: skip
    assert (words.whole(131072), words.whole(0)) == ("131,072", "0")
    assert (words.counted(1, "model"), words.counted(2000, "model")) == ("1 model", "2,000 models")
    assert words.text("a" * 400) == "a" * 299 + "…"


def test_a_row_says_how_its_model_is() -> None:
    away = view("m", state="offline", reason="connection refused", since=NOW - 190)
    assert rows.state_line(away, NOW) == "offline for 3 min: connection refused"
    assert "offline for 3 min: connection refused" in harmless(rows.card(1, away, NOW)).text
    fine = view("m", latency=0.214, max_context=131072, vision=True, running=3, waiting=12)
    read = harmless(rows.card(1, fine, NOW + 7300))
    for part in ("healthy for 2 h", "0.21 s", "131,072", "chat", "text", "images", "3", "12"):
        assert part in read.text
    assert "is-chosen" in rows.card(1, fine, NOW, True)
    assert "is-chosen" not in rows.card(1, fine, NOW)
    assert "hidden" in harmless(rows.card(1, view("m", visible=False), NOW)).text


@pytest.mark.parametrize(
    ("state", "stage", "words", "tone"),
    [
        ("healthy", "ready", "healthy", "good"),
        ("busy", "ready", "busy", "full"),
        ("warming", "offline", "warming up", "waiting"),
        ("rate-limited", "ready", "rate limited", "waiting"),
        ("offline", "offline", "offline", "bad"),
        ("offline", "mismatch", "model not there", "bad"),
        ("auth-error", "offline", "key refused", "bad"),
        ("draining", "ready", "draining", "idle"),
        ("unknown", "opening", "starting", "idle"),
        ("unknown", "listing", "asking for its models", "idle"),
        ("unknown", "unidentified", "not identified", "idle"),
        ("unknown", "ready", "unknown", "idle"),
    ],
)
def test_every_state_has_its_words_and_its_colour(
    state: str, stage: str, words: str, tone: str
) -> None:
    card = rows.card(1, view("m", state=state, stage=stage, reason="so it is"), NOW)
    assert f"{words} for under a minute: so it is" in harmless(card).text
    assert f"models-dot is-{tone}" in card


def test_no_state_is_left_out() -> None:
    assert set(models_states.WORDS) == set(STATES)
    assert all(f".is-{tone} " in CSS.read_text() for tone in models_states.TONES.values())


def test_a_pool_says_its_members_and_how_one_is_chosen() -> None:
    both = pool("both", "a", "b", strategy="sticky", state="busy", reason="a queue")
    text = harmless(rows.card(1, both, NOW)).text
    assert "bothpoola, b · sticky" in text
    assert "busy for under a minute: a queue" in text
    states = models_states.words([view("a"), view("b", state="offline"), view("b", state="busy")])
    told = harmless(rows.details(both, 1, NOW, states)).text
    assert "Membersa (healthy), b (busy)Strategysticky" in told
    assert "Server" not in told
    assert models_states.members(both, {"a": "healthy"}) == ["a (healthy)", "b"]


def test_the_summary_counts_no_request_twice() -> None:
    views = [view("a", running=1, waiting=2), view("b", state="offline"),
             pool("both", "a", "b", running=1, waiting=5)]  # fmt: skip
    assert harmless(rows.summary(views)).text == (
        "2 models, 1 can answer. 1 pool. 1 request running, 5 waiting"
    )


def test_the_details_have_the_servers_load_and_its_last_error() -> None:
    one = view("m", server_running=3, server_waiting=1, last_error="no route",
               last_error_at=NOW - 190)  # fmt: skip
    told = harmless(rows.details(one, 1, NOW)).text
    assert "Its load3 requests running, 1 waiting, from whomever" in told
    assert "Last error3 min ago: no route" in told
    plain = harmless(rows.details(view("m"), 1, NOW)).text
    assert "Its load" not in plain
    assert "Last error" not in plain
    same = view("m", state="offline", reason="offline: no route", last_error="no route")
    assert "Last error" not in harmless(rows.details(same, 1, NOW)).text


def test_a_clock_that_is_behind_counts_from_nothing() -> None:
    assert rows.state_line(view("m", since=NOW + 50), NOW) == "healthy for under a minute"


def test_a_state_that_is_new_to_the_page_is_repeated() -> None:
    assert rows.state_line(view("m", state="frozen"), NOW) == "frozen for under a minute"


def test_a_server_without_a_model_has_a_row() -> None:
    nameless = view("", server="http://gpu:9", plugin=None, state="unknown",
                    stage="unidentified", kinds=())  # fmt: skip
    text = harmless(rows.card(1, nameless, NOW)).text
    assert "(no model yet)http://gpu:9 · unknown backendnot identified" in text


def test_the_summary_counts() -> None:
    assert "No model yet." in rows.summary([])
    many = [view("a", running=1), view("b", state="offline"), view("", state="unknown")]
    assert "2 models, 1 can answer. 1 request running, 0 waiting" in rows.summary(many)
    assert "requests" not in rows.summary([view("a")])


def test_rows_are_found_by_all_words_and_come_in_pages() -> None:
    many = [view(f"vendor/model-{n}", server=f"vllm:gpu{n}:8000") for n in range(45)]
    first = rows.page_of(many, "", 0)
    assert (len(first.views), first.page, first.pages, first.found) == (20, 0, 3, 45)
    last = rows.page_of(many, "", 99)
    assert (last.page, [v.name for v in last.views][-1]) == (2, "vendor/model-44")
    assert rows.page_of(many, "", -1).page == 0
    one = rows.page_of(many, "MODEL-4 gpu44", 2)
    assert ([v.name for v in one.views], one.page, one.pages) == (["vendor/model-44"], 0, 1)
    assert rows.page_of(many, "nothing", 0).views == ()
    assert rows.page_of([view("a", state="offline"), view("b")], "offline", 0).found == 1


def test_the_selected_row_stays_selected_when_its_name_changes() -> None:
    views = [view("a", id="1"), view("b", id="2"), view("c", id="2")]
    assert rows.chosen(views, ("2", "c")) == views[2]
    assert rows.chosen(views, ["2", "other"]) == views[1]
    assert rows.chosen(views, ("3", "a")) is None
    assert rows.chosen(views, None) is None


def test_the_details_say_what_is_known() -> None:
    one = view("m", model="org/m", prompt_type="llama2", requests=1200, tokens=5, failures=2)
    text = harmless(rows.details(one, 1, NOW)).text
    for part in ("org/m", "llama2", "1,200 requests, 5 tokens, 2 failed", "8,192 tokens"):
        assert part in text
    assert "none so far" in rows.details(view("m"), 1, NOW)
    assert "3 models of one server" in rows.details(view("m"), 3, NOW)
    assert "not known" in rows.details(view("m", max_context=None), 1, NOW)


def test_a_look_shows_the_backend_the_address_and_the_models() -> None:
    models = tuple(FoundModel(id=f"m{n}", max_context=4096 * n or None, kinds=None)
                   for n in range(15))  # fmt: skip
    found = Found(server="s", plugin="vllm", url="http://gpu:8000", models=models,
                  kinds=("chat",), problem="")  # fmt: skip
    text = harmless(rows.found(found)).text
    for part in ("vllm", "http://gpu:8000", "m0", "m11 · 45,056 tokens", "and 3 more"):
        assert part in text
    assert "m12" not in text
    assert "Problem" not in text


def test_a_test_is_told_with_its_seconds() -> None:
    good = harmless(rows.tried("m", Tried(ok=True, seconds=0.21, text=" Hello "))).text
    assert good == "m answered in 0.21 s: “Hello”"
    assert harmless(rows.tried("m", Tried(ok=True, seconds=2, text=""))).text.endswith("2.00 s.")
    bad = rows.tried("m", Tried(ok=False, seconds=5, text="no route to host"))
    assert harmless(bad).text == "m failed after 5.00 s: no route to host"
    assert "is-bad" in bad
