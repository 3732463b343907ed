"""Whether an address can be reached from here: proxy, name, TLS, and the clock of the server.

No credentials are sent.
"""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from qflows.bounded_http import http_date
from qflows.protocol import Finding, Verdict

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SKEW_ADVICE_S = 30.0
_SKEW_WRONG_S = 240.0  # AWS refuses signatures that are off by five minutes
_CERTIFICATE_DAYS = 7


def examine(name: str, address: str, *, timeout_s: float) -> Iterator[Finding]:
    """Findings on one address, from one request."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    is_loopback = host in _LOOPBACK
    yield _proxy(name, parts.scheme, host, is_loopback=is_loopback)
    try:
        with (
            httpx.Client(timeout=timeout_s, trust_env=not is_loopback, headers={"User-Agent": "qflows"}) as client,
            client.stream("GET", address) as answer,
        ):
            date, tls = answer.headers.get("date"), _tls(name, answer, is_loopback=is_loopback)
            yield Finding(f"{name}: reachable", Verdict.OK, f"{host} answers")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        yield _out_of_reach(name, host, error)
        return
    yield tls
    yield _clock(name, date)


def _proxy(name: str, scheme: str, host: str, *, is_loopback: bool) -> Finding:
    check = f"{name}: proxy"
    if is_loopback:
        return Finding(check, Verdict.OK, "none: the address is on this machine")
    proxies = urllib.request.getproxies()
    chosen = proxies.get(scheme) or proxies.get("all")
    if not chosen or urllib.request.proxy_bypass(host):
        return Finding(check, Verdict.OK, "none")
    shown = urlsplit(chosen)
    where = f"{shown.hostname or chosen}:{shown.port}" if shown.port else str(shown.hostname or chosen)
    return Finding(check, Verdict.OK, f"{where}, from {scheme.upper()}_PROXY or ALL_PROXY")


def _out_of_reach(name: str, host: str, error: Exception) -> Finding:
    check, text = f"{name}: reachable", str(error)[:300] or type(error).__name__
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in chain) or "CERTIFICATE_VERIFY" in text:
        remedy = (
            "the connection cannot be trusted. If a company proxy signs certificates itself, "
            "set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to its certificate authority; otherwise "
            "find out who answers in the vendor's place"
        )
        return Finding(f"{name}: TLS", Verdict.WRONG, f"the certificate of {host} is not valid: {text}", remedy)
    if isinstance(error, httpx.ProxyError):
        return Finding(
            check, Verdict.WRONG, f"the proxy refused the connection: {text}", "check HTTPS_PROXY and NO_PROXY"
        )
    if isinstance(error, httpx.TimeoutException):
        remedy = "check the connection, a firewall, or whether a proxy is needed (HTTPS_PROXY)"
        return Finding(check, Verdict.WRONG, f"{host} did not answer in time", remedy)
    remedy = "check the connection, the name in the address, and whether a proxy is needed (HTTPS_PROXY)"
    return Finding(check, Verdict.WRONG, f"{host} cannot be reached: {text}", remedy)


def _tls(name: str, answer: httpx.Response, *, is_loopback: bool) -> Finding:
    check = f"{name}: TLS"
    stream: Any = answer.extensions.get("network_stream")
    wrapped = stream.get_extra_info("ssl_object") if stream is not None else None
    if wrapped is None:
        if is_loopback:
            return Finding(check, Verdict.OK, "none needed: the address is on this machine")
        return Finding(check, Verdict.WRONG, "none: keys would be sent unencrypted", "use an https address")
    version = str(wrapped.version())
    certificate = wrapped.getpeercert() or {}
    ends = certificate.get("notAfter")
    if ends:
        days = (ssl.cert_time_to_seconds(ends) - datetime.now(UTC).timestamp()) / 86_400
        if days < _CERTIFICATE_DAYS:
            remedy = "the vendor must renew it; if a proxy signed it, renew the proxy's certificate authority"
            return Finding(check, Verdict.ADVICE, f"{version}, the certificate ends in {days:.0f} days", remedy)
    return Finding(check, Verdict.OK, version)


def _clock(name: str, date: str | None) -> Finding:
    check = f"{name}: clock"
    there = http_date(date)
    if there is None:
        return Finding(check, Verdict.UNKNOWN, "the answer has no Date header")
    skew_s = (there - datetime.now(UTC)).total_seconds()
    which = "behind" if skew_s > 0 else "ahead"
    if abs(skew_s) <= _SKEW_ADVICE_S:
        return Finding(check, Verdict.OK, f"within {max(abs(skew_s), 1.0):.0f} s of the vendor's")
    is_wrong = abs(skew_s) > _SKEW_WRONG_S
    remedy = "set this machine's clock (NTP): " + (
        "signatures and tokens are rejected when the clock is minutes off"
        if is_wrong
        else "qflows corrects for this, but timestamps will confuse readers"
    )
    return Finding(
        check, Verdict.WRONG if is_wrong else Verdict.ADVICE, f"{abs(skew_s):.0f} s {which} of the vendor's", remedy
    )
