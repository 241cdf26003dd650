"""JSON over HTTP from a tracker's server, asked only where the user named it.

A key goes to the named host alone: redirects are refused, plain HTTP is for this machine only, and
no key is in an error, a file or a `repr`.
"""

import base64
import json
import netrc
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from isoflop._errors import RunError
from isoflop.runs.readers.gathering import parse_json, shown

TRIES = 7
"""With doubling waits from 1 s: a minute and a half of a busy server."""
_LONGEST_WAIT_S = 60.0
_TIMEOUT_S = 60.0
_MAX_ANSWER = 1 << 26
_PASSING = {408, 429, 500, 502, 503, 504}
_LOCAL = {"localhost", "127.0.0.1", "::1"}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect would take the key to another host."""
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server: its address and what authorises us there."""

    address: str
    """Without a slash at its end."""
    authorisation: str = field(default="", repr=False)
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RunError(f"{self.address}: no address of a server. Give http(s)://HOST.")
        if parts.username or parts.password:
            raise RunError(
                f"{parts.hostname}: no user or password may stand in an address. Set them in the "
                "environment or in ~/.netrc."
            )
        if self.authorisation and parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise RunError(
                f"{self.address}: a key is sent over https only, but the address is http. Use "
                "https, or a tunnel to localhost."
            )

    def get(self, path: str, arguments: Mapping[str, Any]) -> Any:
        """The JSON answer to GET.

        Raises:
            RunError: see `_ask`.
        """
        query = urlencode({key: value for key, value in arguments.items() if value is not None})
        return self._ask(f"{path}?{query}", None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answer to POST.

        Raises:
            RunError: see `_ask`.
        """
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> Any:
        """The answer, asked again while the server is busy or out of reach.

        Raises:
            RunError: refused, absent, no JSON, or still busy after some tries.
        """
        problem = ""
        for attempt in range(TRIES):
            try:
                with _OPENER.open(self._request(path, body), timeout=_TIMEOUT_S) as answer:
                    return self._parsed(answer.read(_MAX_ANSWER + 1))
            except urllib.error.HTTPError as error:
                with error:
                    problem = f"HTTP {error.code}"
                    if error.code not in _PASSING:
                        raise self._refused(error) from None
                    wait_s = _wait_s(error.headers.get("Retry-After"), attempt)
            except (OSError, HTTPException) as error:
                problem = f"{getattr(error, 'reason', error)}"
                wait_s = 2.0**attempt
            if attempt + 1 < TRIES:
                self.sleep(wait_s)
        raise RunError(
            f"{self.address}: no answer after {TRIES} tries ({problem}). What came is kept: run "
            "the same command later and it goes on from there."
        )

    def _request(self, path: str, body: bytes | None) -> urllib.request.Request:
        headers = {"Accept": "application/json", "User-Agent": "isoflop"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.authorisation:
            headers["Authorization"] = self.authorisation
        return urllib.request.Request(f"{self.address}{path}", data=body, headers=headers)

    def _refused(self, error: urllib.error.HTTPError) -> RunError:
        if error.code in (401, 403):
            remedy = "Set the key of this server in the environment or in ~/.netrc."
        elif 300 <= error.code < 400:
            remedy = "It sends elsewhere: name that address itself."
        else:
            remedy = "Check the address and the names in it."
        said = error.read(300).decode("utf-8", "replace")
        return RunError(f"{self.address}: HTTP {error.code} {shown(said)}. {remedy}")

    def _parsed(self, answer: bytes) -> Any:
        if len(answer) > _MAX_ANSWER:
            raise RunError(f"{self.address}: an answer of more than 64 MiB. Ask for fewer runs.")
        try:
            return parse_json(answer)
        except ValueError:
            raise RunError(
                f"{self.address}: the answer is no JSON. Check that the address is the API's."
            ) from None


def _wait_s(asked: str | None, attempt: int) -> float:
    """Seconds that the server asks for, bounded; doubling where it says none."""
    try:
        return min(max(float(asked or ""), 0.0), _LONGEST_WAIT_S)
    except ValueError:
        return 2.0**attempt


def basic(user: str, password: str) -> str:
    """The header of basic authorisation."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def netrc_password(address: str) -> str:
    """The password for a host in the user's netrc file; empty where there is none."""
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(address).netloc)
    except (OSError, netrc.NetrcParseError):
        return ""
    return (found[2] or "") if found else ""
