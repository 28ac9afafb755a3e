"""The frame of every page for people: one style, one strict policy, everything escaped.

No scripts, nothing loaded from anywhere. Functions that end in markup take plain text and return escaped HTML; only `document` and
`table` take markup. What the pages say is left to the modules they are about.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2126;--soft:#59636e;--paper:#fff;--line:#d8dee4;--tint:#f5f7f9;--link:#0a58ca;
--good:#116329;--goodbg:#dcf5e3;--warn:#7a4b00;--warnbg:#fdefd0;--bad:#a0111f;--badbg:#fde2e4}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaee;--soft:#9aa5b1;--paper:#14181c;--line:#323a42;--tint:#1c2228;--link:#7db4ff;
--good:#7ee2a0;--goodbg:#143621;--warn:#f3c969;--warnbg:#3d2f0e;--bad:#ff9aa2;--badbg:#471a1e}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
header,main,footer{max-width:62rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.25rem;color:var(--soft);font-size:.9rem}
h1{font-size:1.6rem;line-height:1.25;margin:.75rem 0 .75rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:1.75rem 0 .5rem}
a{color:var(--link)}a:focus-visible{outline:3px solid var(--link);outline-offset:2px}
code{font:.875em ui-monospace,monospace;overflow-wrap:anywhere}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem;margin:1rem 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.6rem .8rem;color:var(--soft);font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.5rem .8rem;border-top:1px solid var(--line)}
thead th{background:var(--tint);font-weight:600;font-size:.85rem;white-space:nowrap}
.n{text-align:right}td.n,time,.s{white-space:nowrap}td{overflow-wrap:break-word;min-width:5.5rem}
td:first-child{min-width:11rem;overflow-wrap:anywhere}.s{display:block}
.b{display:inline-block;padding:0 .55rem;border-radius:1rem;font-size:.85rem;white-space:nowrap;
background:var(--tint);color:var(--soft)}
.b.good{background:var(--goodbg);color:var(--good)}.b.warn{background:var(--warnbg);color:var(--warn)}
.b.bad{background:var(--badbg);color:var(--bad)}
.aside,footer{color:var(--soft);font-size:.9rem}footer{padding-bottom:2rem;margin-top:2rem}
"""

_POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HTML_FIELDS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""The header fields of every page."""

_GOOD = frozenset(("current", "identical", "up"))
_WARN = frozenset(
    (
        "rival",
        "stale",
        "partial",
        "unverified",
        "diverged",
        "checking",
        "unreachable",
        "unknown",
        "estranged",
        "outside",
    )
)
_BAD = frozenset(("damaged", "missing", "rot", "truncated", "unreadable"))


def document(title: str, body: str) -> bytes:
    """A whole page. `title` is plain text, `body` markup."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)} · Accord</title><style>{_STYLE}</style></head>"
        '<body><header><a href="/">Accord</a></header>'
        f"<main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    ).encode("utf-8", "replace")


def text(words: str) -> str:
    return escape(words)


def told(words: str) -> str:
    """What somebody wrote, who may have used characters that reorder what is read: not beyond these words."""
    return f"<bdi>{escape(words)}</bdi>"


def paragraph(words: str) -> str:
    return f"<p>{escape(words)}</p>"


def code(words: str) -> str:
    return f"<code>{escape(words)}</code>"


def link(address: str, words: str) -> str:
    """`address` is percent-encoded already, and begins with a slash."""
    return f'<a href="{escape(address)}">{escape(words)}</a>'


def badge(word: str, tone: str | None = None) -> str:
    """A state or a verdict. The word says it, the colour only helps: that of the word, or `good`, `warn` or `bad`."""
    if tone is None:
        tone = "good" if word in _GOOD else "warn" if word in _WARN else "bad" if word in _BAD else ""
    return f'<span class="b {tone}">{escape(word)}</span>'


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, numeric: frozenset[int] = frozenset()
) -> str:
    """`heads` and `caption` are plain text, cells markup; columns in `numeric` are aligned to the right."""
    top = "".join(_cell(index, escape(head), numeric, "th", ' scope="col"') for index, head in enumerate(heads))
    cells = "".join(
        f"<tr>{''.join(_cell(index, cell, numeric) for index, cell in enumerate(row))}</tr>" for row in rows
    )
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{cells}</tbody></table></div>"
    )


def _cell(index: int, markup: str, numeric: frozenset[int], tag: str = "td", more: str = "") -> str:
    aligned = ' class="n"' if index in numeric else ""
    return f"<{tag}{more}{aligned}>{markup}</{tag}>"


def standing(name: str, state: str) -> str:
    """A server and its state, kept on one line."""
    return f'<span class="s">{escape(name)} {badge(state)}</span>'


def line(words: str) -> str:
    """Kept on one line."""
    return f'<span class="s">{escape(words)}</span>'


def moment(rfc3339: str) -> str:
    """A time for people, to the second, as markup that also holds the exact one."""
    return f'<time datetime="{escape(rfc3339)}">{escape(rfc3339[:19].replace("T", " "))} UTC</time>'
