"""The state of a terminal chat: what was said, and the transcript of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..settings import user_path

Ending = Literal["complete", "stopped", "failed"]
MARKS: dict[Ending, str] = {
    "complete": "",
    "stopped": "stopped by the reader",
    "failed": "broken off by an error",
}


@dataclass(slots=True)
class Turn:
    """A question and as much of its answer as came."""

    question: str
    answer: str = ""
    model: str = ""
    ending: Ending = "complete"


@dataclass(slots=True)
class Conversation:
    """Turns, oldest first, and the system message before them."""

    system: str | None = None
    turns: list[Turn] = field(default_factory=list)

    def messages(self, question: str) -> list[dict[str, Any]]:
        """OpenAI's messages for the next question.

        A question that got no answer at all is left out, since many chat templates insist that
        user and assistant take turns.
        """
        messages: list[dict[str, Any]] = []
        if self.system:
            messages.append({"role": "system", "content": self.system})
        for turn in self.turns:
            if turn.answer:
                messages.append({"role": "user", "content": turn.question})
                messages.append({"role": "assistant", "content": turn.answer})
        return [*messages, {"role": "user", "content": question}]

    def take_back(self) -> str | None:
        """Forget the last turn; returns its question, None if there was none."""
        return self.turns.pop().question if self.turns else None

    def transcript(self) -> str:
        """The conversation as Markdown."""
        parts = [f"**System:** {self.system}"] if self.system else []
        for turn in self.turns:
            mark = f"\n\n*({MARKS[turn.ending]})*" if MARKS[turn.ending] else ""
            parts.append(f"**You:** {turn.question}")
            parts.append(f"**{turn.model or 'Assistant'}:** {turn.answer}{mark}")
        return "\n\n".join(parts) + "\n"

    def save(self, name: str) -> Path:
        """Write the conversation to a new file: OpenAI's messages if it ends in .json, else
        Markdown. Raises OSError, also where the file exists."""
        path = user_path(name)
        if path.suffix == ".json":
            messages = self.messages("")[:-1]
            text = json.dumps(messages, indent=2, ensure_ascii=False) + "\n"
        else:
            text = self.transcript()
        with path.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)
        return path
