"""`--workers N`: one coordinator, which owns servers, engines and limits, and N processes that
answer requests (docs/workers.md).
"""
