"""The pages of sign-in, as HTML: no script, one style, nothing from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib import resources

TITLE = "h2o relay"
# Whoever looks for a Gradio server (h2oGPT's clients, another relay) finds one that asks for a
# login by this word.
MARK = '<meta name="gradio_config" content="auth_required">'
# A session may end while its page is open, and Gradio says nothing of events that are refused.
HEAD = """<script>
{
  const fetched = window.fetch;
  window.fetch = async (...given) => {
    const answer = await fetched(...given);
    if (answer.status === 401) window.location.reload();
    return answer;
  };
}
</script>"""
"""For the head of the chat page: whoever has to sign in again is asked to."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a person is asked for."""

    names: bool = True
    """A name and a password."""
    key: bool = False
    """A key."""
    guests: bool = False
    """They may come in without a name."""
    hint: str = ""
    error: str = ""
    name: str = ""
    """Typed before."""
    query: str = field(default="", kw_only=True)
    """Of the page that was asked for: it is opened next."""


def sign_in(form: Form) -> bytes:
    parts = [f"<h1>{escape(TITLE)}</h1>"]
    parts += [f"<p>{escape(form.hint)}</p>"] if form.hint else []
    parts += [f'<p class="bad" role="alert">{escape(form.error)}</p>'] if form.error else []
    if form.names:
        parts.append(_field("Name", "username", "username", value=form.name, first=not form.name))
        parts.append(_field("Password", "password", "current-password", first=bool(form.name)))
    if form.key:
        parts.append(_field("Access key", "key", "off", first=not form.names))
    word = "Sign in" if form.names else "Continue"
    parts.append(f'<button type="submit">{word}</button>')
    if form.guests:
        guest = '<button class="plain" name="guest" value="1" formnovalidate>{}</button>'
        parts.append(guest.format("Continue as a guest"))
    query = f'<input type="hidden" name="query" value="{escape(form.query)}">'
    return _page(f'<form method="post" action="login">{query}{"".join(parts)}</form>')


def sign_out(guest: bool) -> bytes:
    lost = "What a guest has said is gone then." if guest else "Your conversations are kept."
    return _page(
        f"<h1>{escape(TITLE)}</h1><p>{lost}</p>"
        '<form method="post" action="logout"><button type="submit">Sign out</button></form>'
    )


def _field(label: str, name: str, complete: str, *, value: str = "", first: bool = False) -> str:
    kind = "text" if name == "username" else "password"
    more = ' autocapitalize="none" spellcheck="false"' if name == "username" else ""
    more += f' value="{escape(value)}"' if value else ""
    more += " autofocus" if first else ""
    return (
        f'<label>{label}<input name="{name}" type="{kind}" autocomplete="{complete}" required'
        f"{more}></label>"
    )


def _page(body: str) -> bytes:
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{MARK}<meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{escape(TITLE)}</title><style>'
        f"{_style()}</style></head>"
    )
    return f"{head}<body><main>{body}</main></body></html>".encode()


@cache
def _style() -> str:
    return resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
