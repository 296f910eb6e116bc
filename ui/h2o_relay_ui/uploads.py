"""Files that a browser has sent to the page. Their paths come back from the browser: only those in
the folder of uploads are believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from h2o_relay.errors import InvalidRequest

ELSEWHERE = "This file was not sent from this page."


def paths_of(files: Iterable[Any]) -> list[str]:
    """The paths of files as Gradio's components send them (`{"path": ...}`). Raises
    InvalidRequest for one that is no upload.
    """
    folder = Path(get_upload_folder()).resolve()
    return [_path(file, folder) for file in files]


def _path(file: Any, folder: Path) -> str:
    given = file.get("path") if isinstance(file, dict) else None
    if not isinstance(given, str) or "\0" in given:
        raise InvalidRequest(ELSEWHERE)
    path = Path(given).resolve()
    if not path.is_relative_to(folder) or path == folder:
        raise InvalidRequest(ELSEWHERE)
    return str(path)
