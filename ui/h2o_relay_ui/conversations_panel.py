"""The sidebar: a user's conversations by day, and what can be done to the one that is open.

    with gr.Sidebar():
        panel = conversations_panel.layout()

What its parts do is wired in `panel_events`, since it concerns the chat tab too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import gradio as gr

from h2o_relay.store import Conversations, Summary

DAYS = ("Today", "Yesterday", "Earlier")
UNTITLED = "Untitled"
NOTHING = "No chats yet."
NOT_FOUND = "No chat has these words."
LIMIT = 200  # conversations that are listed
FARTHEST = 24 * 60  # minutes that a time zone can be from UTC
ZONE = "h2o_relay_zone"
"""The cookie in which the page's script says how many minutes its clock is behind UTC."""
FILES = [".json", ".jsonl", ".md"]


@dataclass(frozen=True, slots=True)
class Panel:
    """The sidebar's components."""

    fresh: gr.Button
    temporary: gr.Button
    search: gr.Textbox
    days: list[gr.Radio]
    """One list for each of `DAYS`."""
    nothing: gr.Markdown
    this: gr.Accordion
    """What can be done to the open conversation."""
    title: gr.Textbox
    rename: gr.Button
    exports: dict[str, gr.Button]
    """By the file's kind."""
    file: gr.Textbox
    """The text of an exported file, for the page's script, which saves it."""
    file_name: gr.Markdown
    delete: gr.Button
    sure: gr.Column
    really: gr.Button
    keep: gr.Button
    load: gr.UploadButton
    notice: gr.Markdown


def layout() -> Panel:
    """Put the parts where the page is being built."""
    with gr.Row(elem_id="conversations-new"):
        fresh = gr.Button("New chat", elem_id="conversations-fresh", size="sm", min_width=80)
        temporary = gr.Button(
            "Temporary", elem_id="conversations-temporary", size="sm", min_width=80,
            variant="secondary",
        )  # fmt: skip
    search = gr.Textbox(
        label="Search chats", show_label=False, container=False, placeholder="Search chats",
        elem_id="conversations-search", max_length=200,
    )  # fmt: skip
    notice = gr.Markdown(
        "", elem_id="conversations-notice", elem_classes="notice", visible=False, container=False
    )
    with gr.Column(elem_id="conversations-list"):
        days = [
            gr.Radio(
                [], label=day, elem_id=f"conversations-{day.lower()}", visible=False,
                container=True, elem_classes="conversations-day",
            )
            for day in DAYS
        ]  # fmt: skip
        nothing = gr.Markdown(NOTHING, elem_id="conversations-nothing", container=False)
    this, title, rename, exports, delete, sure, really, keep = _this()
    load = gr.UploadButton(
        "Import chats", elem_id="conversations-import", file_types=FILES, size="sm",
        variant="secondary",
    )  # fmt: skip
    file = gr.Textbox(visible="hidden", elem_id="conversations-file")
    name = gr.Markdown(visible="hidden", elem_id="conversations-file-name", sanitize_html=False)
    return Panel(
        fresh, temporary, search, days, nothing, this, title, rename, exports, file, name, delete,
        sure, really, keep, load, notice,
    )  # fmt: skip


def _this() -> tuple[Any, ...]:
    with gr.Accordion("This chat", open=False, elem_id="conversations-this", visible=False) as this:
        title = gr.Textbox(
            label="Title", elem_id="conversations-title", max_length=200, container=False,
            show_label=False, placeholder="Title",
        )  # fmt: skip
        rename = gr.Button("Rename", elem_id="conversations-rename", size="sm")
        gr.Markdown("Export as", elem_id="conversations-export", container=False)
        with gr.Row(elem_id="conversations-exports"):
            exports = {
                kind: gr.Button(label, elem_id=f"conversations-export-{kind}", size="sm",
                                min_width=60)
                for kind, label in (("md", "Markdown"), ("json", "JSON"), ("jsonl", "JSONL"))
            }  # fmt: skip
        delete = gr.Button("Delete…", elem_id="conversations-delete", size="sm")
        with gr.Column(visible=False, elem_id="conversations-sure") as sure:
            gr.Markdown("Delete this chat for good?", container=False)
            with gr.Row():
                really = gr.Button(
                    "Delete", elem_id="conversations-delete-really", size="sm", variant="stop",
                    min_width=60,
                )  # fmt: skip
                keep = gr.Button("Keep", elem_id="conversations-keep", size="sm", min_width=60)
    return this, title, rename, exports, delete, sure, really, keep


def grouped(
    summaries: Iterable[Summary], now: float, zone: timezone
) -> dict[str, list[tuple[str, str]]]:
    """Title and id of the conversations by day, in the order that they come in."""
    today = datetime.fromtimestamp(now, zone).date()
    days = {today: DAYS[0], today - timedelta(days=1): DAYS[1]}
    found: dict[str, list[tuple[str, str]]] = {day: [] for day in DAYS}
    for summary in summaries:
        date = datetime.fromtimestamp(summary.updated, zone).date()
        day = DAYS[0] if date > today else days.get(date, DAYS[2])
        found[day].append((summary.title or UNTITLED, summary.id))
    return found


def zone_of(cookies: Any) -> timezone:
    """The browser's time zone, as its cookie says; this machine's without one."""
    try:
        minutes = int(str(dict(cookies or {}).get(ZONE)))
    except ValueError:
        local = datetime.now(UTC).astimezone().tzinfo
        return local if isinstance(local, timezone) else UTC
    if abs(minutes) >= FARTHEST:
        return UTC
    return timezone(timedelta(minutes=-minutes))


async def listed(
    conversations: Conversations, owner: str, search: str, now: float, zone: timezone
) -> dict[str, list[tuple[str, str]]]:
    """The newest conversations by day. Raises StoreError."""
    found = await conversations.list(owner, search=search, kind="chat", limit=LIMIT)
    return grouped(found, now, zone)


def lists(panel: Panel, found: dict[str, list[tuple[str, str]]], id: str, search: str) -> Any:
    """The updates that show this, the open conversation chosen."""
    updates: dict[Any, Any] = {}
    for radio, day in zip(panel.days, DAYS, strict=True):
        ids = [one for _, one in found[day]]
        updates[radio] = gr.update(
            choices=found[day], value=id if id in ids else None, visible=bool(ids)
        )
    some = any(found.values())
    why = NOT_FOUND if search.strip() else NOTHING
    updates[panel.nothing] = gr.update(value=why, visible=not some)
    return updates
