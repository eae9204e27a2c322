"""Renders the page that shows the AsyncAPI document: HTML that needs no scripts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from app.document.docs_page.contract import Contract, Node, read, references
from app.document.docs_page.types import limits, type_of

_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the description in the AsyncAPI document: the heading `title`, and the text `body` as HTML.

    `title` is empty for the text before the first heading.
    """

    title: str
    body: Markup

    @property
    def anchor(self) -> str:
        """The section's fragment in the page's URL: what follows `#`."""
        return "-".join(self.title.lower().split())


def render(document: Node) -> str:
    """Return the documentation page of an AsyncAPI document as HTML."""
    contract = read(document)
    preface, *sections = _sections(document["info"]["description"])
    return (
        _environment(document["components"]["schemas"], contract)
        .get_template("page.html")
        .render(document=document, contract=contract, preface=preface, sections=sections)
    )


def _environment(schemas: dict[str, Node], contract: Contract) -> Environment:
    def explained(field: Node) -> dict[str, Node]:
        return {name: contract.explained[name] for name in references(field) if name in contract.explained}

    def choices(field: Node) -> list[str]:
        elsewhere = [name for name in references(field) if name not in contract.explained]
        return [value for name in elsewhere for value in schemas[name].get("enum", [])]

    environment = Environment(
        loader=PackageLoader("app.document.docs_page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "choices": choices,
        "explained": explained,
        "inline": _inline,
        "json": _json,
        "limits": limits,
        "type": type_of,
        "yaml": _yaml,
    }
    return environment


def _inline(text: str) -> Markup:
    """Render one line of Markdown as HTML."""
    return Markup(_MARKDOWN.renderInline(text))  # noqa: S704 - the renderer escapes the HTML in the text


def _json(payload: object) -> str:
    """Return an example payload as indented JSON; return a string unchanged, because it is not JSON."""
    return payload if isinstance(payload, str) else json.dumps(payload, indent=2, ensure_ascii=False)


def _yaml(facts: Node) -> str:
    return str(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=90))


def _sections(text: str) -> Iterator[Section]:
    """Split a Markdown text into the section before the first `##` heading, and one section for each such heading."""
    tokens = _MARKDOWN.parse(text)
    heads = [at for at, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"]
    yield Section("", _html(tokens[: heads[0]] if heads else tokens))
    for start, end in zip(heads, [*heads[1:], len(tokens)], strict=True):
        yield Section(tokens[start + 1].content, _html(tokens[start + 3 : end]))  # a heading is three tokens


def _html(tokens: list[Token]) -> Markup:
    rendered = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return Markup(rendered)  # noqa: S704 - the renderer escapes the HTML in the text
