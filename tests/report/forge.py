"""A forge's reader: Markdown by a real parser, then what a forge looks for in the text that is left. Fails where anything but our own markup has a meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token

OURS = {"details", "summary", "code"}
# What a forge makes a link of, or mentions a person by, in text that is not code.
CALLS = re.compile(r"@|#\d|\b[0-9a-f]{7,}\b|://|www\.|\bGH-\d|:\w+:|[!~%$&]\w|[<>|*_`\\\[\]]")
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
SENTINEL = "Sentinel"


class Tags(HTMLParser):
    """Follows the raw HTML of a text: which tags are open, and what text is outside code."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in OURS
        assert not attrs
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" not in self.open:
            assert not CALLS.search(data), data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment got through: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration got through: {decl}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction got through: {data}")


def flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from flat(token.children or [])


def is_harmless(text: str) -> bool:
    """Read the text as a forge does; fail where anything but our own markup has a meaning."""
    text.encode()
    tokens = PARSER.parse(f"{text}\n\n{SENTINEL}\n")
    assert [token.content for token in tokens[-3:]] == ["", SENTINEL, ""], "something is still open at the end"
    assert tokens[-3].level == 0
    tags = Tags()
    for token in flat(tokens):
        assert token.type not in {
            "image",
            "blockquote_open",
            "code_block",
            "bullet_list_open",
            "ordered_list_open",
            "list_item_open",
            "hr",
            "s_open",
        }, token
        if token.type == "link_open":
            assert str(token.attrs["href"]).startswith("https://example.com/")
        if token.type in {"html_block", "html_inline"}:
            tags.feed(token.content)
        if token.type == "fence":
            assert token.info == "diff"
        if token.type == "text" and token.content:
            assert not CALLS.search(token.content), token.content
    tags.close()
    assert tags.open == []
    return True
