"""The test bench: a server that breaks HTTP on request, for tests and by hand.

`Bench` is the server; the name of a request's model says how it behaves (`grammar` reads the names,
`catalogue` has them all). `peers` has ports that nothing answers at, for what no server can do
itself. `python -m h2o_relay.testing.bench` runs it.
"""

from .catalogue import BEHAVIOURS
from .grammar import Asked, Behaviour
from .peers import Peer, bannered, mute, refusing, resetting, unaccepting
from .server import Bench, Count

__all__ = [
    "BEHAVIOURS",
    "Asked",
    "Behaviour",
    "Bench",
    "Count",
    "Peer",
    "bannered",
    "mute",
    "refusing",
    "resetting",
    "unaccepting",
]
