"""Images that a user sends, and files that a browser says it has sent."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay_ui import images

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


def test_images_become_data_urls_by_what_they_are(tmp_path: Path) -> None:
    files = {
        "a.txt": (PNG, "image/png"),
        "b.png": (b"\xff\xd8\xff\xe0 jpeg", "image/jpeg"),
        "c": (b"GIF89a...", "image/gif"),
        "d": (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
    }
    for name, (data, kind) in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        [url] = images.read([str(path)])
        head, _, body = url.partition(",")
        assert head == f"data:{kind};base64"
        assert base64.b64decode(body) == data


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"RIFF\0\0\0\0WAVE", b"%PDF-1.7"])
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with pytest.raises(InvalidRequest, match=r"picture\.png is no PNG, JPEG, GIF or WebP image"):
        images.read([str(path)])


def test_size_and_number_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGEST", 2**20)
    path = tmp_path / "a.png"
    path.write_bytes(PNG + b"0" * 2**20)
    with pytest.raises(InvalidRequest, match=r"a\.png has more than 1 MB"):
        images.read([str(path)])
    with pytest.raises(InvalidRequest, match="4 images at most; these are 5"):
        images.read(["x"] * 5)
    with pytest.raises(InvalidRequest, match=r"gone\.png is not there any more"):
        images.read([str(tmp_path / "gone.png")])


def test_what_was_read_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    images.forget([str(path), str(tmp_path / "gone")])
    assert not path.exists()


def test_only_uploads_are_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = pytest.importorskip("h2o_relay_ui.uploads", reason="Gradio is not installed")
    folder = tmp_path / "uploads"
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "a.png").write_bytes(PNG)
    (folder / "link").symlink_to("/etc/passwd")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    inside = str(folder / "x" / "a.png")
    assert uploads.paths_of([{"path": inside}]) == [str(Path(inside).resolve())]
    foreign: list[Any] = [
        {"path": "/etc/passwd"}, {"path": f"{folder}/../secret"}, {"path": f"{folder}/link"},
        {"path": str(folder)}, {"path": "a\0b"}, {"path": 7}, {}, None, inside,
    ]  # fmt: skip
    for file in foreign:
        with pytest.raises(InvalidRequest, match="not sent from this page"):
            uploads.paths_of([file])
