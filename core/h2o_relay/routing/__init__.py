"""Which member of a pool answers: pure rules over what is known of the members, without I/O.

router = Router(spec)
chosen = router.choose(members, key)      # None: every member is full; the caller queues
chosen.member, chosen.reason
"""

from .conversation import conversation_key
from .router import Router
from .types import REASONS, Candidate, Chosen

__all__ = ["REASONS", "Candidate", "Chosen", "Router", "conversation_key"]
