"""What a relay keeps: conversations, added models, users and votes, in one SQL database.

SQLAlchemy and Alembic are imported here and nowhere else. They take a third of a second to load:
import this package where it is used, not at the head of a module that the command line loads.
"""

from .accounts import Account, Accounts, account_name
from .conversations import Conversation, Conversations, Summary
from .database import Store
from .engine import describe
from .models import AddedModels
from .votes import Vote, Votes

__all__ = [
    "Account",
    "Accounts",
    "AddedModels",
    "Conversation",
    "Conversations",
    "Store",
    "Summary",
    "Vote",
    "Votes",
    "account_name",
    "describe",
]
