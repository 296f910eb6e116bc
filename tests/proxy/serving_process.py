"""`serve` as a process: python serving_process.py SETTINGS [CONFIG], both JSON or a path."""

from __future__ import annotations

import json
import sys

from h2o_relay import settings
from h2o_relay.commands.logs import log_to_stderr
from h2o_relay.config import Config, read_config
from h2o_relay.plugins import Plugins
from h2o_relay_proxy.server import serve


def main() -> int:
    flags = json.loads(sys.argv[1])
    servers = flags.pop("servers", [])
    plugins = Plugins.discover("vllm")
    config: Config | None = None
    if len(sys.argv) > 2:
        config = read_config(sys.argv[2], {}, parse=plugins.parse)
    log_to_stderr("info")
    return serve(settings.load({"ui": False, **flags}, {}), servers, plugins, config=config)


if __name__ == "__main__":
    sys.exit(main())
