"""What is said in the pictures. Models, servers and answers are made up; how the page shows them,
figures included, is real.
"""

from __future__ import annotations

BACKOFF = "How should a client retry a busy server? Show me Python."
BACKOFF_ANSWER = """\
Wait longer after each failure, and let **chance** choose how long, so that clients that failed \
together do not come back together:

```python
import random
import time

def retry(call, attempts=6, base=0.2, cap=10.0):
    for attempt in range(attempts):
        try:
            return call()
        except ConnectionError:
            if attempt == attempts - 1:
                raise
            time.sleep(random.uniform(0, min(cap, base * 2**attempt)))
```

The wait before attempt $n$ is drawn from $[0, \\min(c,\\; b \\cdot 2^{n})]$. What is worth \
another try:

| Answer | Retry | Why |
| --- | :---: | --- |
| `429` | yes | after what `Retry-After` says |
| `503` | yes | the server is starting, or full |
| `400` | no | it will be wrong again |
| timeout | if it is safe | the first one may have worked |
"""
EARLIER = (
    ("Plan three days in Lisbon without a car", "Day one: the old town, on foot and by tram."),
    ("Turn these notes into minutes", "Here are the minutes, by topic, with who does what."),
    ("Why is my SQL query slow?", "It reads the whole table: the index is on another column."),
    ("Translate the release notes to French", "Voici les notes de version en français."),
    ("Name five birds that sing at night", "Nightingale, robin, nightjar, mockingbird, corncrake."),
)
"""Questions and answers that are in the list of chats; the oldest first."""
COMPARED = "Explain recursion to a ten-year-old, in two or three sentences."
COMPARED_ANSWERS = {
    "heron-70b": """\
Imagine you are in a long queue and want to know your place in it. You ask the person in front of \
you, who asks the person in front of them, and so on, until the first one says “I am number one!” \
Then everybody **adds one** and tells the person behind: that is recursion, a question that \
answers itself by asking a *smaller* version of itself.""",
    "finch-8b": """\
Recursion is like a set of nesting dolls:

1. open a doll,
2. find a smaller doll inside, and do the same,
3. stop at the one that does not open.

The last doll is the **base case**. Without it you would open dolls for ever.""",
    "wren-2b": """\
Recursion is when something uses itself to do its work. Like two mirrors that face each other: \
each picture holds a smaller picture, until it is too small to see.""",
}
PACES = {"heron-70b": (0.35, 0.035), "finch-8b": (0.12, 0.015), "wren-2b": (0.05, 0.008)}
"""Seconds before an answer's first word, and before each other one."""
CALLERS = ("nightly evaluation", "search", "support desk")
"""The names of keys."""
CHATTER = "Summarise the last hour of the log."
CHATTER_ANSWER = "Nothing unusual: " + "one request after the other was answered in time. " * 8


def answer_of(model: str, question: str) -> str:
    if question == COMPARED:
        return COMPARED_ANSWERS[model]
    known = {BACKOFF: BACKOFF_ANSWER, CHATTER: CHATTER_ANSWER, **dict(EARLIER)}
    return known.get(question, "Yes.")
