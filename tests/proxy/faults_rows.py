"""The table of faults: what the bench does, and what a client sees of it through a relay.

The ids are those of the project's list of faults, F01 to F56; `ELSEWHERE` has the ids that no model
of the bench can stand for, with the tests that do.
"""

from __future__ import annotations

from dataclasses import dataclass

from .faults_views import Called, Http, Intact, Mid, View, tokens

MIB = 2**20
MAX_EVENT = MIB  # bytes

DISCONNECTED = Http(502, "upstream_disconnected")
BAD = Http(502, "upstream_bad_response")
INCOMPLETE = Http(502, "upstream_incomplete")
TOO_LARGE = Http(502, "upstream_response_too_large")
REDIRECTED = Http(502, "upstream_redirect")
UNAVAILABLE = Http(503, "upstream_unavailable", "overloaded_error")
GAVE_UP = Http(504, "deadline_exceeded", "timeout_error")
NO_BYTE = Http(504, "first_byte_timeout", "timeout_error")
SILENT = Http(504, "idle_timeout", "timeout_error")
WHOLE = Intact(tokens(5))
LOOKALIKES = Intact("\n\ndata: [DONE]\n\n\r\u2028\x00\ufeffid: 1\nok")
TWICE = Intact("".join(f"tok{n}" * 2 for n in range(5)))
LIMITED = "rate_limit_exceeded"


@dataclass(frozen=True)
class Row:
    id: str
    model: str
    streamed: View
    """What a client sees that asks for a stream."""
    whole: View
    """What one sees that does not."""
    tries: int = 1
    """Requests that reach the upstream, of a relay that tries again twice."""
    whole_tries: int = 1
    healed: View | None = None
    """What both clients see of that relay, if it is something else."""
    hasty: bool = False
    """Needs a relay with short limits of time."""

    def expected(self, streamed: bool, retrying: bool) -> tuple[View, int]:
        """The view and the requests."""
        view = self.streamed if streamed else self.whole
        if not retrying:
            return view, 1
        return self.healed or view, self.tries if streamed else self.whole_tries

    @property
    def is_tried_again(self) -> bool:
        return self.tries > 1


def limited(wait: str) -> Http:
    return Http(429, LIMITED, "rate_limit_error", {"retry-after": wait})


def rejected(status: int, code: str = "bench") -> Http:
    return Http(status, code, "invalid_request_error")


def same(id: str, model: str, view: View) -> Row:
    """One view for both clients."""
    return Row(id, model, view, view)


def again(id: str, model: str, view: View, healed: View | None = None) -> Row:
    """The same, of a fault that another try may mend."""
    return Row(id, model, view, view, tries=3, whole_tries=3, healed=healed)


def cut(id: str, model: str, code: str, whole: View, count: int = 3, hasty: bool = False) -> Row:
    return Row(id, model, Mid(count, code), whole, hasty=hasty)


STYLES = ("crlf", "cr", "no-space", "id", "retry", "comment", "bom", "event-type")

ROWS = [
    # Before the first byte.
    same("F10", "ok@first=300", WHOLE),
    Row("F11", "slow-headers@delay=300", NO_BYTE, GAVE_UP, hasty=True),
    Row("F11", "no-answer", NO_BYTE, GAVE_UP, hasty=True),
    Row("F11", "hang@after=0", NO_BYTE, SILENT, hasty=True),
    again("F13", "reset-at-once", DISCONNECTED),
    again("F13", "close-at-once", DISCONNECTED),
    again("F13", "flaky", DISCONNECTED, WHOLE),
    again("F13", "flaky@by=close", DISCONNECTED, WHOLE),
    same("F16", "ok@tokens=5~delay=20", WHOLE),
    same("F17", "dialect", WHOLE),
    *(same("F17", f"dialect@style={style}", WHOLE) for style in STYLES),
    same("F19", "rate-limit@wait=99999", limited("99999")),
    again("F19", "rate-limit@wait=0", limited("0")),
    same("F20", "status@code=500", BAD),
    again("F20", "status@code=502", BAD),
    again("F20", "status@code=503", UNAVAILABLE),
    again("F20", "status@code=504", GAVE_UP),
    again("F20", "flaky@by=status", UNAVAILABLE, WHOLE),
    same("F22", "context", rejected(400, "context_length_exceeded")),
    same("F22", "status@code=422", rejected(422)),
    same("F22", "status@code=404", rejected(404)),
    # In mid-stream.
    cut("F23", "reset", "upstream_disconnected", DISCONNECTED),
    Row("F23", "reset@after=0", DISCONNECTED, DISCONNECTED, tries=3),
    cut("F25", "truncate", "upstream_disconnected", DISCONNECTED),
    cut("F26", "truncate@where=chunk", "upstream_disconnected", DISCONNECTED),
    cut("F26", "truncate@where=string", "upstream_disconnected", DISCONNECTED),
    cut("F26", "truncate@where=event", "upstream_incomplete", BAD),
    cut("F28", "hang", "idle_timeout", SILENT, hasty=True),
    same("F29", "drip@tokens=5~delay=50", WHOLE),
    Row("F29", "drip@tokens=3~delay=9000", Mid(1, "idle_timeout"), GAVE_UP, hasty=True),
    cut("F31", "error-event", "upstream_bad_response", BAD),
    same("F31", "error-event@after=0", BAD),
    same("F31", "error-body", BAD),
    same("F32", "foreign-event", WHOLE),
    # Endings.
    same("F35", "hang-after-done", WHOLE),
    same("F35", "no-done", WHOLE),
    cut("F37", "no-finish", "upstream_incomplete", Intact(tokens(3), None)),
    cut("F38", "no-finish@done=yes", "upstream_incomplete", Intact(tokens(3), None)),
    Row("F38", "empty", INCOMPLETE, BAD),
    Row("F38", "empty@body=none", INCOMPLETE, BAD),
    same("F40", "after-done", WHOLE),
    same("F41", "duplicate", TWICE),
    # Payloads.
    same("F43", "utf8-split", Intact("é日本🦆ok")),
    cut("F43", "invalid-utf8", "upstream_bad_response", BAD),
    same("F44", "sse-text", LOOKALIKES),
    cut("F46", "wrong-shape", "upstream_bad_response", BAD),
    cut("F46", "invalid-json", "upstream_bad_response", BAD),
    same("F47", "html", BAD),
    same("F49", "tools", Called({"place": "Zürich 🦆"})),
    cut("F50", "giant-event@mib=2", "upstream_response_too_large", TOO_LARGE),
    same("F50", "giant-event@mib=2~after=0", TOO_LARGE),
    same("F50", "endless-line", TOO_LARGE),
    same("F50", "giant-chunk", Intact(tokens(1000))),
    same("F52", "giant-headers", BAD),
    same("F53", "giant-error", BAD),
    cut("F55", "bad-chunk", "upstream_bad_response", BAD),
    same("F55", "junk-status", BAD),
    same("F55", "smuggled", BAD),
    same("F55", "not-http", BAD),
    same("F56", "redirect", REDIRECTED),
    same("F56", "redirect@to=here", REDIRECTED),
    same("F56", "redirect@to=loop", REDIRECTED),
]

ELSEWHERE = {
    **dict.fromkeys(("F01", "F02", "F04", "F05", "F07", "F08"), "test_faults_connecting.py"),
    "F14": "not offered: the relay sends no keep-alive comments",
    "F34": "test_faults_restart.py",
}
NUMBERS = (
    *(1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29, 31, 32, 34, 35),
    *(37, 38, 40, 41, 43, 44, 46, 47, 49, 50, 52, 53, 55, 56),
)
IDS = frozenset(f"F{number:02}" for number in NUMBERS)
