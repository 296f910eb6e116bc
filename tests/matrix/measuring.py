"""What becomes of a field: measured by asking with it and without it.

| word | |
|---|---|
| `native` | the server got the caller's own field, as it was written, in the caller's own dialect |
| `translated` | the server got it in other words, or the relay does it itself |
| `reported` | it is named in `x-h2o-dropped-params` |
| `refused` | a 4xx names it |
| `lost` | none of these: the answer is as if it had not been asked for, and nobody was told |
"""

from __future__ import annotations

from .backends import PATHS
from .features import BASES, CALLS, FEATURES, Feature, Fields
from .kit import Bench, Outcome
from .said import comparable, said_of

NATIVE, TRANSLATED, REPORTED, REFUSED, LOST = (
    "native", "translated", "reported", "refused", "lost",
)  # fmt: skip
OTHER = "paths"
"""The table of other paths."""


class Measured:
    """The verdicts of one backend; what the same request became is asked once."""

    def __init__(self, bench: Bench) -> None:
        self.backend, self.bench = bench.backend, bench
        self._known: dict[str, Outcome] = {}

    async def verdict(self, dialect: str, feature: Feature) -> str:
        """A cell of the matrix. Raises AssertionError for an answer in no good order."""
        base = {**BASES[dialect], **feature.beside}
        found = await self.outcome(dialect, {**base, **feature.fields})
        if feature.fields:
            word = await self.becomes(dialect, base, feature.fields)
        else:  # only the answer counts
            native = any(self.backend.is_native(dialect, sent) for sent in found.sent)
            word = NATIVE if native else TRANSLATED
        if word in (REPORTED, REFUSED) or feature.good is None or _is_own(found):
            return word
        return word if feature.good(said_of(dialect, found.reply)) else LOST

    async def becomes(self, dialect: str, base: Fields, fields: Fields) -> str:
        """What becomes of `fields` in a request that is otherwise `base`."""
        without = await self.outcome(dialect, base)
        found = await self.outcome(dialect, {**base, **fields})
        roots = set(fields)
        if found.refused:
            none = without.refused and found.error == without.error  # there is no such path at all
            return REFUSED if none or found.named in roots else LOST
        assert found.reply.status == 200, (dialect, fields, found.reply)
        if roots & found.dropped:
            return REPORTED
        for sent in found.sent:
            if self.backend.is_native(dialect, sent) and fields.items() <= sent.body.items():
                return NATIVE
        if found.sent != without.sent or without.reply.status != 200:
            return TRANSLATED
        return LOST if comparable(found.reply) == comparable(without.reply) else TRANSLATED

    async def call(self, path: str) -> str:
        """What becomes of a call of another path. Raises AssertionError for a failure."""
        fields = CALLS[path]
        found = await self.bench.ask(path, fields)
        if found.refused:
            return REFUSED if found.reply.status == 404 else LOST
        assert found.reply.status == 200, (path, found.reply)
        at_any = bool(self.backend.invoked)
        own = [sent for sent in found.sent if at_any or sent.path.endswith(path)]
        same = any(fields.items() <= sent.body.items() for sent in own)
        return NATIVE if same and found.reply.body in found.answers else TRANSLATED

    async def ask_anew(self, dialect: str, body: Fields) -> Outcome:
        return await self.bench.ask(PATHS[dialect], body)

    async def outcome(self, dialect: str, body: Fields, strict: bool = False) -> Outcome:
        key = repr((dialect, body, strict))
        if key not in self._known:
            self._known[key] = await self.bench.ask(PATHS[dialect], body, strict)
        return self._known[key]

    async def column(self, table: str) -> dict[str, str]:
        """The verdicts of a table's rows: the features of a dialect, or the other paths."""
        if table == OTHER:
            return {path: await self.call(path) for path in CALLS}
        return {f.name: await self.verdict(table, f) for f in FEATURES[table]}


def _is_own(found: Outcome) -> bool:
    """Whether a server that speaks Responses or Messages itself has answered: what its stand-in
    says is the same whatever was asked.
    """
    return any(sent.path.endswith(("/responses", "/messages")) for sent in found.sent)
