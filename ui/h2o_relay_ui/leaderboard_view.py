"""The leaderboard as the page shows it."""

from __future__ import annotations

from collections.abc import Sequence

from .leaderboard import FEW, Standing
from .words import counted, text

NO_VOTES = "Nobody has voted yet. Switch on *Blind*, ask, and say which answer is best."
ABOUT = (
    "Bradley-Terry ratings of all blind votes on this relay. 400 points more are odds of ten to "
    "one; 1000 is the mean. Where two ranges overlap widely, the order of the two models means "
    f"little. A model with fewer than {FEW} votes is marked."
)
HEAD = ("", "Model", "Rating", "95 % range", "Votes", "Won")


def table(standings: Sequence[Standing]) -> str:
    """HTML in Markdown; all names are escaped."""
    if not standings:
        return NO_VOTES
    head = "".join(f"<th>{name}</th>" for name in HEAD)
    rows = "".join(_row(place, standing) for place, standing in enumerate(standings, 1))
    return (
        f'<div class="at-table"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f"</div><p>{ABOUT}</p>"
    )


def _row(place: int, standing: Standing) -> str:
    few = f' <span class="at-few">{counted(standing.votes, "vote")} only</span>'
    cells = (
        f"{place}",
        text(standing.model) + (few if standing.few else ""),
        f"{standing.rating:.0f}",
        f"{standing.low:.0f} to {standing.high:.0f}",
        f"{standing.votes:,}",
        f"{standing.wins / standing.votes:.0%}",
    )
    classes = ("at-number", "at-model-name", *["at-number"] * 4)
    told = (f'<td class="{kind}">{cell}</td>' for kind, cell in zip(classes, cells, strict=True))
    return f"<tr>{''.join(told)}</tr>"
