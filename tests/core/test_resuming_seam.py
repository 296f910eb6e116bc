"""What a server says after a seam, joined to what was said before it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.prompts.stops import cut
from h2o_relay.seam import Seam


def pieces(text: str, data: Any) -> list[str]:
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=4).map(sorted))
    bounds = [0, *places, len(text)]
    return [text[a:b] for a, b in pairwise(bounds)]


def joined(seam: Seam, texts: list[str]) -> str:
    out = ""
    for text in texts:
        out += seam.join(text, False)
        if seam.stopped:
            return out
    return out + seam.join("", True)


WORD = st.text("ab \n", max_size=12)


class TestSeam:
    @given(st.text("xy \n", max_size=8), WORD, st.data())
    def test_what_was_not_given_may_come_again(self, head: str, rest: str, data: Any) -> None:
        """A server that was given the text without its end repeats the end, or says other words;
        however its pieces are cut."""
        said = head + "x \n"
        kept = said.rstrip()
        repeated = said[len(kept) :]
        seam = Seam(said, repeated, ())
        assert joined(seam, pieces(repeated + rest, data)) == rest
        other = Seam(said, repeated, ())
        assert joined(other, pieces("!" + rest, data)) == "!" + rest
        half = Seam(said, repeated, ())
        assert joined(half, pieces(repeated[:1] + "!" + rest, data)) == "!" + rest

    @given(WORD, WORD, st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3), st.data())
    def test_a_stop_across_the_seam(
        self, said: str, rest: str, stops: list[str], data: Any
    ) -> None:
        """No server sees it whole: here it ends the answer as it would have without the seam. Those
        on either side are the servers' own, which left none.
        """
        if cut(said, stops)[1] or cut(rest, stops)[1]:
            return
        text, stop = cut(said + rest, stops)
        seam = Seam(said, "", stops)
        new = joined(seam, pieces(rest, data))
        if stop is None:
            assert (new, seam.stopped) == (rest, False)
        else:
            assert seam.stopped
            assert (said + new).startswith(text)
            assert new == ""  # it began before the seam: all that was left is taken off
