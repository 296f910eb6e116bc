"""`Series`: what was counted of the requests with one set of labels."""

from __future__ import annotations

from typing import Final, NamedTuple

from h2o_relay.accounting.record import Record

from .histogram import DURATION, FIRST, OVERHEAD, PER_TOKEN, TOKENS, Histogram
from .vocabulary import OTHER, STATUSES, error_codes, status_word

HISTOGRAMS: Final = ("duration", "first", "per_token", "queue", "overhead", "prompt", "completion")
COUNTS: Final = ("streamed", "aborted", "attempts", "retries", "estimated", "cached", "cost")


class Labels(NamedTuple):
    route: str
    model: str
    deployment: str
    key: str = ""
    """"" unless keys are told apart."""


class Series:
    """Counters that only grow."""

    __slots__ = ("_codes", "outcomes", "plugin", *HISTOGRAMS, *COUNTS)

    def __init__(self, codes: frozenset[str] | None = None) -> None:
        self._codes = error_codes() if codes is None else codes
        self.outcomes: dict[tuple[str, str], int] = {}
        """By status and error code."""
        self.plugin = ""
        """Of the latest request that reached a server."""
        self.duration = Histogram(DURATION)
        self.first = Histogram(FIRST)
        self.per_token = Histogram(PER_TOKEN)
        self.queue = Histogram(FIRST)
        self.overhead = Histogram(OVERHEAD)
        self.prompt = Histogram(TOKENS)
        self.completion = Histogram(TOKENS)
        self.streamed = self.aborted = self.attempts = self.retries = 0
        self.estimated = self.cached = 0
        self.cost = 0.0

    def note(self, record: Record) -> None:
        """Count a request that is over."""
        code = record.code or ""
        if code and code not in self._codes:
            code = OTHER
        outcome = STATUSES.get(record.status) or status_word(record.status), code
        outcomes = self.outcomes
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        self.duration.observe(record.seconds)
        if record.streamed:
            self.streamed += 1
        if record.aborted:
            self.aborted += 1
        if record.attempts:
            self._note_asked(record)

    def _note_asked(self, record: Record) -> None:
        """What there is to say only where a server was asked."""
        attempts = record.attempts
        self.plugin = record.plugin or self.plugin
        self.attempts += attempts
        if attempts > 1:
            self.retries += attempts - 1
        if record.queued:
            self.queue.observe(record.queued)
        else:
            self.queue.counts[0] += 1
        first, prompt, completion = record.first, record.prompt_tokens, record.completion_tokens
        if first is not None:
            self.first.observe(first)
            self.overhead.observe(record.overhead)
            if completion is not None and completion > 1:
                self.per_token.observe((record.seconds - first) / (completion - 1))
        if prompt is not None:
            self.prompt.observe(prompt)
        if completion is not None:
            self.completion.observe(completion)
        if record.cached_tokens:
            self.cached += record.cached_tokens
        if record.estimated:
            self.estimated += 1
        if record.cost is not None:
            self.cost += record.cost

    def add(self, other: Series) -> None:
        """Count what another one has counted."""
        self.plugin = other.plugin or self.plugin
        for outcome, times in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + times
        for name in HISTOGRAMS:
            getattr(self, name).add(getattr(other, name))
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def copy(self) -> Series:
        other = Series.__new__(Series)
        other._codes, other.outcomes, other.plugin = self._codes, self.outcomes.copy(), self.plugin
        for name in HISTOGRAMS:
            setattr(other, name, getattr(self, name).copy())
        for name in COUNTS:
            setattr(other, name, getattr(self, name))
        return other
