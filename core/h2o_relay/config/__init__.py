"""The configuration file, `h2o.yaml`: settings, models and pools in one place.

`document` reads YAML and remembers lines, `references` puts variables in, `sections` checks each of
the three parts by the rules of the command line, `reading` makes a `Config` of them, `schema` says
the same for editors, and `writing` writes such a file.
"""

from .problems import ConfigError, Problem
from .reading import Config, parse_config, read_config
from .schema import schema
from .writing import entries_yaml

__all__ = [
    "Config",
    "ConfigError",
    "Problem",
    "entries_yaml",
    "parse_config",
    "read_config",
    "schema",
]
