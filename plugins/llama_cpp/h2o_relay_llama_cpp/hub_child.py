"""The child process that downloads one file from the hub.

    python -m h2o_relay_llama_cpp.hub_child OWNER/REPO FILE FOLDER

Prints JSON lines: `{"done": bytes, "total": bytes or null}` as it goes, at last `{"ok": true}` or
`{"error": "refused" | "unreachable" | "disk", "message": text}`.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import orjson

from h2o_relay.engines import exit_with_parent

OFTEN = 0.1  # seconds between two reports


class Bar:
    """What the hub's library takes for a tqdm progress bar."""

    def __init__(self, *args: Any, total: int | None = None, initial: int = 0, **more: Any) -> None:
        self.total, self.n, self._next = total, initial, 0.0
        say(done=initial, total=total)

    def update(self, n: float | None = 1) -> None:
        self.n += int(n or 0)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + OFTEN
            say(done=self.n, total=self.total)

    def update_transfer(self, n: float | None = 1) -> None:
        """Bytes that came over the network, which for some stores is not what was written."""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *args: object) -> None:
        say(done=self.n, total=self.total)

    def __getattr__(self, name: str) -> Any:
        """Everything else that bars can do is for the screen."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **more: None


def say(**what: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


def download(repo: str, file: str, folder: str) -> tuple[str, str] | None:
    """Kind and text of what went wrong; None if nothing did."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        # One look first: the download itself would try an absent hub for half a minute.
        get_hf_file_metadata(hf_hub_url(repo, file))
        hf_hub_download(repo, file, local_dir=folder, tqdm_class=Bar)
    except errors.GatedRepoError:
        return "refused", "its terms must be accepted on the hub first, and HF_TOKEN be set"
    except errors.RepositoryNotFoundError:
        return "refused", "there is no such repository, or it is private and HF_TOKEN is not set"
    except errors.LocalEntryNotFoundError as error:
        return "unreachable", f"the hub cannot be reached ({_line(error.__cause__ or error)})"
    except errors.EntryNotFoundError:
        return "refused", "the repository has no such file"
    except errors.HFValidationError as error:
        return "refused", _line(error)
    except errors.HfHubHTTPError as error:
        return "unreachable", f"the hub answered {error.response.status_code}"
    except OSError as error:
        return "disk" if error.errno else "unreachable", _line(error)
    except Exception as error:  # of the HTTP library that the hub's has chosen
        return "unreachable", f"the hub cannot be reached ({_line(error)})"
    return None


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def main() -> None:
    exit_with_parent()
    wrong = download(*sys.argv[1:4])
    if wrong is None:
        say(ok=True)
    else:
        say(error=wrong[0], message=wrong[1])
        sys.exit(1)


if __name__ == "__main__":
    main()
