"""Names become media types; users' content is fenced in; Accept chooses the form."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.server.media import SANDBOX, Form, content_type, disposition, fences, is_active, negotiate

BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
FORMS = (Form.JSON, Form.HTML, Form.MULTIPART)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hello.txt", "text/plain; charset=utf-8"),
        ("a/b/README.md", "text/markdown; charset=utf-8"),
        ("x.HTML", "text/html; charset=utf-8"),
        ("photo.jpeg", "image/jpeg"),
        ("photo.webp", "image/webp"),
        ("film.mp4", "video/mp4"),
        ("x.json", "application/json"),
        ("x.tar.gz", "application/gzip"),
        ("x.txt.gz", "application/gzip"),
        ("x.svgz", "application/gzip"),
        ("x.tar.xz", "application/x-xz"),
        ("noextension", "application/octet-stream"),
        (".bashrc", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        ("http://x.html", "text/html; charset=utf-8"),
        ("odd.\u202egpj", "application/octet-stream"),
    ],
)
def test_the_type_comes_from_the_name(name: str, kind: str) -> None:
    assert content_type(name) == kind


@pytest.mark.parametrize("name", ["x.html", "x.htm", "x.svg", "x.xml", "x.xhtml", "x.xsl", "x.eml", "x.mhtml", "x.rss"])
def test_active_content_is_put_in_a_sandbox(name: str) -> None:
    kind = content_type(name)
    assert kind.startswith("application/octet-stream") or (b"Content-Security-Policy", SANDBOX) in fences(kind)


@pytest.mark.parametrize("name", ["x.txt", "x.png", "x.pdf", "x.bin", "x.js", "x.html"])
def test_nothing_is_sniffed_or_embedded_elsewhere(name: str) -> None:
    fields = dict(fences(content_type(name)))
    assert fields[b"X-Content-Type-Options"] == b"nosniff"
    assert fields[b"Cross-Origin-Resource-Policy"] == b"same-origin"
    assert (b"Content-Security-Policy" in fields) == is_active(content_type(name))


def test_awkward_names_are_told_twice() -> None:
    assert disposition("plain.txt") == b'inline; filename="plain.txt"'
    assert (
        disposition('na"me.txt', attachment=True) == b"attachment; filename=\"na_me.txt\"; filename*=UTF-8''na%22me.txt"
    )
    assert disposition("grüße €.txt") == (
        b"inline; filename=\"gr__e _.txt\"; filename*=UTF-8''gr%C3%BC%C3%9Fe%20%E2%82%AC.txt"
    )


@given(st.text(st.characters(codec="utf-8")))
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    assert re.fullmatch(
        rb"inline; filename=\"[ !#-\[\]-~]*\"(; filename\*=UTF-8''[A-Za-z0-9%_.~-]*)?", disposition(name)
    )


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Form.JSON),
        (b"", Form.JSON),
        (b"*/*", Form.JSON),
        (b"application/json", Form.JSON),
        (b"application/problem+json", Form.JSON),
        (BROWSER, Form.HTML),
        (b"text/html", Form.HTML),
        (b"text/*", Form.HTML),
        (b"multipart/mixed", Form.MULTIPART),
        (b"multipart/*", Form.MULTIPART),
        (b"multipart/mixed, */*", Form.MULTIPART),
        (b"multipart/mixed, application/json", Form.MULTIPART),
        (b"multipart/mixed;q=0.5, application/json", Form.JSON),
        (b"application/json;q=0.1, text/html;q=0.2", Form.HTML),
        (b"text/html;q=0, */*", Form.JSON),
        (b"application/json;q=0, */*", Form.HTML),
        (b"text/html;level=1;Q=0.3, application/json;q=0.2", Form.HTML),
        (b"image/png", Form.JSON),
        (b"*/*;q=0", Form.JSON),
        (b"text/html;q=2", Form.JSON),
        (b"text/html;q=nan", Form.JSON),
        (b"*/html", Form.JSON),
        (b"\xff\xff", Form.JSON),
        (b"text/html" + b" " * 5000, Form.JSON),
        (b"a/b," * 64 + b"text/html", Form.JSON),
    ],
)
def test_accept_chooses_the_form(accept: bytes | None, form: Form) -> None:
    assert negotiate(accept, FORMS) is form


@given(st.binary(max_size=100))
def test_any_accept_has_an_outcome(accept: bytes) -> None:
    assert negotiate(accept, FORMS) in FORMS
