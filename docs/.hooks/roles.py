"""Docstrings name other objects by Sphinx roles, such as :func:`riesz_sum`; the site shows the name alone."""

import re

_ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):(?=<code>|<autoref)")


def on_page_content(html: str, **_: object) -> str:
    """Remove the roles from a page's HTML."""
    return _ROLE.sub("", html)
