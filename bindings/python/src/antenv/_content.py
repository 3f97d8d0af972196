"""What tools return, as the content of a tool's result. Pure, but for the reading of files."""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union, cast

if TYPE_CHECKING:
    from .types import Base64Source, DocumentBlock, FileSource, ImageBlock, ResultBlock, TextSource, UrlSource

#: The first bytes of the images that the API takes.
_IMAGES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
#: The blocks of results, each with the member that makes a dictionary one.
_BLOCKS = {"text": "text", "image": "source", "document": "source", "search_result": "source"}


class Image:
    """An image for a tool to return: PNG, JPEG, GIF or WebP.

    @antenv.tool
    def chart() -> antenv.Image:
        return antenv.Image("chart.png")
    """

    #: The image as a block of a tool's result.
    block: ImageBlock

    def __init__(
        self,
        data: bytes | str | os.PathLike[str] | None = None,
        *,
        media_type: str | None = None,
        url: str | None = None,
        file_id: str | None = None,
    ) -> None:
        """Makes a block. Give one of `data`, `url` and `file_id`.

        Args:
            data: The image's bytes, or the path of its file, which is read at once.
            media_type: Such as "image/png". Without it: what the first bytes say.
            url: The image's address.
            file_id: The identifier of an uploaded file (`file_...`).

        Raises:
            ValueError: None or several of them are given, or the bytes are none of such an image.
            OSError: The file cannot be read.
        """
        content = _only_one(data, url, file_id)
        source = _elsewhere(url, file_id) if content is None else _base64(content, media_type or _image_type(content))
        self.block = {"type": "image", "source": source}

    def __repr__(self) -> str:
        return f"<antenv.Image {self.block['source']['type']}>"


class Document:
    """A document for a tool to return: PDF, or text in UTF-8."""

    #: The document as a block of a tool's result.
    block: DocumentBlock

    def __init__(
        self,
        data: bytes | str | os.PathLike[str] | None = None,
        *,
        title: str | None = None,
        context: str | None = None,
        media_type: str | None = None,
        url: str | None = None,
        file_id: str | None = None,
    ) -> None:
        """Makes a block. Give one of `data`, `url` and `file_id`.

        Args:
            data: The document's bytes, or the path of its file, which is read at once.
            title: The document's title.
            context: What the agent should know about it.
            media_type: "application/pdf" or "text/plain". Without it: what the first bytes say.
            url: The document's address.
            file_id: The identifier of an uploaded file (`file_...`).

        Raises:
            ValueError: None or several of them are given, or the bytes are neither PDF nor text in UTF-8.
            OSError: The file cannot be read.
        """
        content = _only_one(data, url, file_id)
        source: Base64Source | TextSource | UrlSource | FileSource
        if content is None:
            source = _elsewhere(url, file_id)
        elif media_type == "text/plain" or (media_type is None and not content.startswith(b"%PDF")):
            source = {"type": "text", "media_type": "text/plain", "data": _text(content)}
        else:
            source = _base64(content, media_type or "application/pdf")
        self.block = {"type": "document", "source": source}
        if title is not None:
            self.block["title"] = title
        if context is not None:
            self.block["context"] = context

    def __repr__(self) -> str:
        return f"<antenv.Document {self.block['source']['type']}>"


#: What `ToolError` takes as content: a text, a block, or several.
Content = Union[str, "Block", "list[Block | str]"]
#: A block of a tool's result.
Block = Union[Image, Document, "ResultBlock"]


def content_of(value: Any) -> str | list[ResultBlock]:
    """Returns what a tool returned as the content of its result. Raises TypeError for what it cannot hold."""
    if value is None:
        return ""  # of which the library makes "(no output)"
    if isinstance(value, str):
        return value
    block = _block(value)
    if block is not None:
        return [block]
    if isinstance(value, (list, tuple)) and any(_block(one) is not None for one in value):
        return [_block(one) or {"type": "text", "text": one if isinstance(one, str) else _json(one)} for one in value]
    return _json(value)


def _block(value: Any) -> ResultBlock | None:
    """Returns a value that stands for a block as that block."""
    if isinstance(value, (Image, Document)):
        return value.block
    kind = value.get("type") if isinstance(value, Mapping) else None
    if isinstance(kind, str) and _BLOCKS.get(kind) in value:
        return cast("ResultBlock", dict(value))
    return None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Returns what `json` does not know as what it knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "to_dict"):  # a result of this package
        return value.to_dict()
    advice = ": antenv.Image and antenv.Document take bytes" if isinstance(value, (bytes, bytearray)) else ""
    raise TypeError(f"a tool cannot return {type(value).__name__}{advice}")


def _only_one(data: bytes | str | os.PathLike[str] | None, url: str | None, file_id: str | None) -> bytes | None:
    """Returns the bytes, read from the file if need be; None when a URL or an identifier is given."""
    if sum(one is not None for one in (data, url, file_id)) != 1:
        raise ValueError("give one of data, url and file_id")
    if data is None or isinstance(data, (bytes, bytearray, memoryview)):
        return data if data is None else bytes(data)
    with open(data, "rb") as file:
        return file.read()


def _elsewhere(url: str | None, file_id: str | None) -> UrlSource | FileSource:
    if url is not None:
        return {"type": "url", "url": url}
    return {"type": "file", "file_id": file_id or ""}


def _base64(content: bytes, media_type: str) -> Base64Source:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(content).decode()}


def _image_type(content: bytes) -> str:
    for start, media_type in _IMAGES.items():
        if content.startswith(start):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    raise ValueError("the image is no PNG, JPEG, GIF or WebP")


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError("the document is neither PDF nor text in UTF-8") from None
