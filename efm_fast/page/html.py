"""One HTML file with style, script and data in it, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache
from pathlib import Path
from typing import Any

_ASSETS = Path(__file__).parent / "assets"
#: In the order in which they are run.
_SCRIPTS = ("frame", "camera", "painter", "stage", "report", "theme", "page")


def page(data: dict[str, Any]) -> tuple[str, str]:
    """The page as HTML, and its Content-Security-Policy.

    Args:
        data: what the script starts with, ready for JSON: ``presets`` and limits of a page with a server, or the
            ``report`` of one without.
    """
    style, script = _style(), _script()
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    # "<" is the only character that could end a script element early
    start = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    parts = {"policy": policy, "style": style, "script": script, "data": start, "title": title_of(data)}
    text = (_ASSETS / "page.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        before, mark, after = text.partition(f"<!-- {name} -->")
        assert mark, name
        text = before + part + after
    return text, policy


def title_of(data: dict[str, Any]) -> str:
    """What the browser's window is called."""
    name = data.get("report", {}).get("name")
    return html.escape(f"{name} · efm_fast" if name else "Field lines · efm_fast")


@cache
def _style() -> str:
    return (_ASSETS / "page.css").read_text(encoding="utf-8")


@cache
def _script() -> str:
    parts = [(_ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    return '"use strict";\n' + "\n".join(parts)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
