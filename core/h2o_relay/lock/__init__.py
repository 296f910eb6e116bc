"""Model locks: which models a relay serves, written as h2oGPT's `--model_lock`.

A lock is a list of entries, each a mapping of h2oGPT's keys, as a Python literal, as JSON or in a
file (`@models.yaml`). `source` reads the text, `shell` puts together again what a shell has taken
apart, `keys` knows the entries' keys, `visible` chooses what is listed, and `specs` makes
`ServerSpec`s of it all.
"""

from .errors import LockError
from .specs import Configured, configured

__all__ = ["Configured", "LockError", "configured"]
