"""Stops are cut at the earliest place, whatever the chunks are, and nothing sent is taken back."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from h2o_relay.prompts.catalog import by_name_or_number, names
from h2o_relay.prompts.stops import StopCutter, cut, fix_text, pending, trimmed

SHORT = st.text("ab<", max_size=14)
MARKS = st.lists(st.text("ab<", min_size=1, max_size=4), max_size=3)


def stream(cutter: StopCutter, chunks: list[str]) -> str:
    return "".join(cutter.feed(chunk) for chunk in chunks) + cutter.finish()


def split(text: str, places: list[int]) -> list[str]:
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(ends)]


def by_hand(text: str, stops: list[str], endings: list[str]) -> tuple[str, str | None]:
    """The definition, without any cleverness."""
    found = [(text.find(s), -len(s), s) for s in stops if s in text]
    stop = min(found)[2] if found else None
    text = text[: min(found)[0]] if found else text
    while any(text.endswith(e) for e in endings):
        text = text[: -len(next(e for e in endings if text.endswith(e)))]
    return text, stop


@given(SHORT, MARKS, MARKS, st.lists(st.integers(0, 20), max_size=12))
@example("abcd", ["bcd", "abcde"], [], [4])
@example("a<human<x", ["<x"], ["<human"], [8])
@example("abcdY", ["bcdZ", "dY"], ["abc"], [4])
@example("abcd", ["bcdZ"], ["abc", "d"], [1, 2, 3])
def test_chunks_do_not_matter(
    text: str, stops: list[str], endings: list[str], places: list[int]
) -> None:
    wanted, stop = by_hand(text, stops, endings)
    assert cut(text, stops, endings) == (wanted, stop)
    cutter = StopCutter(stops, endings)
    assert stream(cutter, split(text, places)) == wanted
    assert cutter.stopped == stop
    one_by_one = StopCutter(stops, endings)
    assert stream(one_by_one, list(text)) == wanted
    assert one_by_one.stopped == stop


@given(st.text(), st.lists(st.text(min_size=1, max_size=5), max_size=4), st.data())
def test_any_text_and_any_stops(text: str, stops: list[str], data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, max(len(text), 1)), max_size=8))
    wanted, stop = by_hand(text, stops, [])
    cutter = StopCutter(stops)
    assert (stream(cutter, split(text, places)), cutter.stopped) == (wanted, stop)


def test_text_is_held_back_only_while_it_must_be() -> None:
    cutter = StopCutter(["</s>", "\n\n"])
    assert cutter.feed("Hello") == "Hello"
    assert cutter.feed(" <") == " "
    assert cutter.feed("/s") == ""
    assert cutter.feed("x\n") == "</sx"
    assert cutter.feed("y</s>z") == "\ny"
    assert cutter.stopped == "</s>"
    assert cutter.feed("more") == ""
    assert cutter.finish() == ""


def test_the_earliest_stop_not_the_first_listed() -> None:
    assert cut("one<bot>:two<human>:", ["<human>:", "<bot>:"]) == ("one", "<bot>:")


def test_of_two_stops_at_one_place_the_longer_is_named() -> None:
    assert cut("a<end>\nb", ["<end>", "<end>\n"]) == ("a", "<end>\n")
    cutter = StopCutter(["<end>", "<end>\n"])
    assert cutter.feed("a<end>") == "a"
    assert cutter.stopped is None
    assert cutter.finish() == ""
    assert cutter.stopped == "<end>"


def test_no_stops_nothing_held() -> None:
    cutter = StopCutter([""])
    assert cutter.feed("a<") == "a<"
    assert cutter.finish() == ""
    assert cutter.stopped is None


def test_an_unfinished_stop_is_text_unless_it_is_known_as_a_fragment() -> None:
    assert cut("x <", ["</s>"]) == ("x <", None)
    assert cut("x </s", ["</s>"]) == ("x </s", None)
    assert cut("x </s", ["</s>"], ["</s"]) == ("x ", None)


def test_the_leading_space_of_human_bot() -> None:
    kind = by_name_or_number("human_bot")
    cutter = StopCutter.of(kind, ["END"])
    assert stream(cutter, ["", " ", "Hi", " there", "EN", "D."]) == "Hi there"
    assert cutter.stopped == "END"
    assert stream(StopCutter.of(kind), ["  two"]) == " two"
    assert stream(StopCutter.of(by_name_or_number("llama2")), [" Hi"]) == " Hi"


def test_a_long_answer_takes_no_more_than_linear_time() -> None:
    text = "<" * 50_000
    assert stream(StopCutter(["</s>", "<|im_end|>"]), [text]) == text
    assert fix_text("human_bot", "<human" * 5_000, True) == ""
    assert fix_text("human_bot", text, False) == ""
    junk = StopCutter.of(by_name_or_number("human_bot"))
    sent = [junk.feed("<human") for _ in range(2000)]
    assert len("".join(sent)) > 11_000
    assert len("".join(sent) + junk.finish()) <= 12_000


@pytest.mark.parametrize(
    ("kind", "text", "fixed"),
    [
        ("human_bot", "Yes.<human", "Yes."),
        ("human_bot", "Yes.<bot", "Yes."),
        ("human_bot", "Yes.<bot<human", "Yes."),
        ("human_bot", "Yes.<huma", "Yes.<huma"),
        ("human_bot_orig", "Yes.<human", "Yes.<human"),
        ("docsgpt", "Yes.### Inst", "Yes."),
        ("vicuna11", "Yes.</s", "Yes."),
        ("vicuna11nosys", "Yes.</s", "Yes.</s"),
        ("one_shot", "Yes.### Human", "Yes."),
        ("unknown", "Yes.<|im_end|><|endoftext|>", "Yes."),
        ("plain", "Yes.<|im_end|>", "Yes.<|im_end|>"),
    ],
)
def test_fragments_that_go_from_the_end(kind: str, text: str, fixed: str) -> None:
    assert fix_text(kind, text, True) == fixed
    assert fix_text(kind, f"{text} x", True) == f"{text} x"
    assert fixed.startswith(fix_text(kind, text, False))


PIECES = st.lists(
    st.sampled_from(["<human", "<bot", "<", "<hu", "a", "### Human", "</s", "<|im_end|>", "<|im"]),
    max_size=6,
).map("".join)


@given(PIECES, PIECES)
def test_fixing_twice_changes_nothing_and_never_takes_back(text: str, more: str) -> None:
    for name in names():
        once = fix_text(name, text, True)
        so_far = fix_text(name, text, False)
        assert fix_text(name, once, True) == once
        assert fix_text(name, so_far, False) == so_far
        assert once.startswith(so_far)
        assert fix_text(name, text + more, False).startswith(so_far)
        assert fix_text(name, text + more, True).startswith(so_far)


@given(SHORT, MARKS)
def test_what_is_pending_is_all_that_can_still_go(text: str, endings: list[str]) -> None:
    kept = text[: pending(text, endings)]
    for more in ["", *endings, *(e[n:] for e in endings for n in range(1, len(e)))]:
        assert trimmed(text + more, endings).startswith(kept)
