"""What people see of a relay from outside: metrics, a line for each request, traces.

Each part takes `Record`s by `note(record)`, which takes microseconds, never waits and never raises.
"""
