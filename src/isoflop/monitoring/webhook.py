"""Verdicts to a URL that the user gives: one POST of JSON, and never a reason to stop watching."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from isoflop._errors import InputError

TIMEOUT_S = 10.0


def check_url(url: str) -> str:
    """`url` if JSON can be posted there.

    Raises:
        InputError: it is no http or https address.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"the webhook must be an http or https address, but got {url!r}.")
    return url


def post(url: str, verdict: Mapping[str, Any]) -> str:
    """Send a verdict; why it did not arrive, or an empty text."""
    request = urllib.request.Request(
        check_url(url),
        data=json.dumps(verdict, allow_nan=False).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "isoflop"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"the webhook answered {error.code}"
    except OSError as error:
        return f"the webhook could not be reached ({error})"
