"""Signing in to the chat page: accounts, guests, keys, and whose a request is.

sign_in = SignIn(settings, local=is_for_this_machine(settings))  # raises SettingError
app = Front(sign_in.wrap(app), local)                               # nothing passes unseen
gr.mount_gradio_app(..., head=HEAD, auth_dependency=sign_in.username)   # Gradio asks again
async with sign_in.opened(Accounts(store), Conversations(store), relay=relay):   # in the lifespan
    Context(..., user=sign_in.user, extra={SIGN_IN: sign_in})
"""

from __future__ import annotations

from html import escape
from typing import Any

from ..context import HOLDER, Context, User, asking_for
from .desk import Desk, holder
from .gate import SESSION, Gate
from .page import HEAD
from .sessions import Session

__all__ = ["HEAD", "SIGN_IN", "SignIn", "sign_in_of"]

SIGN_IN = "sign in"
"""Where a page's context has it."""
ONLY_ME = "local"
OWNERS = {"accounts": "user", "key": "key", "browser": "browser"}


class SignIn(Desk):
    def wrap(self, app: Any) -> Gate:
        """`app`, an ASGI application, for those alone who may use it."""
        return Gate(app, self)

    def user(self, request: Any) -> User:
        """Who sent a request, Gradio's or Starlette's. Raises RuntimeError for one that has not
        come through `wrap`.
        """
        session = session_of(request)
        if session is None:  # a browser that takes no cookies: a page is a person
            page = str(getattr(request, "session_hash", None) or "")
            return User(owner=f"browser:{self.sessions.mark(page)}")
        if session.kind == "local":
            return User(owner=ONLY_ME)
        if session.kind == "user":
            held = holder(session)
            if held:
                return User(owner=f"{HOLDER}{held}", name=session.name)
            # Whoever has the key may take any name: these names are not those of accounts.
            return User(owner=f"{OWNERS[self.mode]}:{session.name}", name=session.name)
        guest = session.kind == "guest"
        return User(owner=f"{session.kind}:{session.id}", name=session.name, guest=guest)

    def models_of(self, owner: str) -> tuple[str, ...]:
        """The models that an owner's key is for; () for all of them, and without a key."""
        return self.stored.models(asking_for(owner).get("holder", ""))

    def username(self, request: Any) -> str | None:
        """For Gradio, which refuses a request with None."""
        try:
            user = self.user(request)
        except RuntimeError:
            return None
        return user.name or user.owner

    def may_chat(self, request: Any) -> bool:
        """Whether the one who sent a request may use the page, where that needs a key."""
        session = session_of(request)
        return not self.keys.needed_by_page or (session is not None and self.opens_page(session))

    def sign_out(self, user: User) -> str:
        """HTML for a page: who is signed in, and a button; "" where nobody signs in."""
        if not self.signs_in:
            return ""
        who = "Guest" if user.guest else escape(user.name)
        return (
            f'<form class="sign-out" method="post" action="logout"><span>{who}</span>'
            '<button type="submit">Sign out</button></form>'
        )


def session_of(request: Any) -> Session | None:
    """A request's session; None for a browser's without a cookie. Raises RuntimeError."""
    scope = (getattr(request, "request", None) or request).scope
    if SESSION not in scope:
        raise RuntimeError("a request has not come through the chat page's sign-in")
    session: Session | None = scope[SESSION]
    return session


def sign_in_of(context: Context) -> SignIn:
    """The page's sign-in."""
    found = context.extra[SIGN_IN]
    assert isinstance(found, SignIn)
    return found
