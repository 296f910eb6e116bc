"""What a relay keeps: conversations, added models, users, votes, keys and usage, in one SQL
database.

SQLAlchemy and Alembic are imported here and nowhere else. They take a third of a second to load:
import this package where it is used, not at the head of a module that the command line loads.
"""

from .accounts import Account, Accounts, account_name
from .conversations import Conversation, Conversations, Summary
from .database import Store
from .engine import check_url, describe
from .keys import Keys
from .lasting import LastingStore
from .models import AddedModels
from .usage import UsageStore
from .votes import Vote, Votes

__all__ = [
    "Account",
    "Accounts",
    "AddedModels",
    "Conversation",
    "Conversations",
    "Keys",
    "LastingStore",
    "Store",
    "Summary",
    "UsageStore",
    "Vote",
    "Votes",
    "account_name",
    "check_url",
    "describe",
]
