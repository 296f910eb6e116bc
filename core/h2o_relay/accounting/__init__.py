"""Who calls, what they may, what they used: callers, limits, usage, prices."""
