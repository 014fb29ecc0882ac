import html
import html.parser

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from foveal.web import asset, page, templates


def test_a_plain_body_and_title_are_escaped() -> None:
    text = page("<b>title</b>", "<script>alert(1)</script>")
    assert "<title>&lt;b&gt;title&lt;/b&gt;</title>" in text
    assert "<script" not in text


def test_markup_goes_in_as_it_is() -> None:
    assert "<main id=main>here</main>" in page("title", Markup("<main id=main>here</main>"))


def test_a_closed_page_permits_only_its_own_script() -> None:
    text = page("title", "", script="document.title = 'a';", closed=True)
    assert "default-src 'none'" in html.unescape(text)
    assert "script-src 'sha256-ZcptOWFAq+BNpRPTjP3XzxgDhN+mmVV23l+3H3PcmkE='" in html.unescape(text)
    assert "Content-Security-Policy" not in page("title", "", script="document.title = 'a';")


def test_the_shell_is_whole_html_with_language_and_viewport() -> None:
    text = page("title", "")
    assert text.startswith("<!doctype html>")
    assert '<html lang="en">' in text
    assert "width=device-width" in text
    html.parser.HTMLParser().feed(text)


def test_templates_escape_whatever_they_are_called_and_refuse_unknown_names() -> None:
    environment = templates("foveal.web")
    assert environment.from_string("{{ x }}").render(x="<&'\"") == "&lt;&amp;&#39;&#34;"
    with pytest.raises(UndefinedError):
        environment.from_string("{{ y }}").render()


def test_json_in_a_script_element_cannot_end_it_and_keeps_its_order() -> None:
    text = templates("foveal.web").from_string("{{ x|tojson }}").render(x={"b": "</script><!--", "a": 1})
    assert "<" not in text
    assert text.index('"b"') < text.index('"a"')


def test_the_style_sheet_reaches_nothing_outside() -> None:
    style = asset("foveal.web", "style.css")
    assert "url(" not in style
    assert "@import" not in style
