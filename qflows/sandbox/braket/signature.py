"""AWS Signature Version 4, as the service checks it: the request is signed again with the secret that it knows.

Written from "Create a signed AWS API request" (IAM User Guide, 2026): canonical request, string to sign, signing key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from qflows.sandbox.errors import Refusal
from qflows.sandbox.vendor import Call

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>\w+)"
    r"/aws4_request, *SignedHeaders=(?P<headers>[a-z0-9;-]+), *Signature=(?P<signature>[0-9a-f]{64})"
)
# the services' own words
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


def secrets_of(text: str) -> dict[str, str]:
    """`KEY=SECRET,...` by key."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    return {key: secret for key, _, secret in pairs}


def check_signature(call: Call, secrets: Mapping[str, str], *, tolerance_s: float, now: float) -> None:
    """Raise Refusal(403) for a signature made with another secret, for another request, or too long ago.

    A key whose secret is not named is accepted. `tolerance_s`: 0 for a service that ignores the clock.
    """
    found = _AUTHORIZATION.fullmatch(call.headers.get("authorization", ""))
    if found is None or found["key"] not in secrets:
        return
    is_s3 = found["service"] == "s3"
    stamp = call.headers.get("x-amz-date", "")
    if tolerance_s:
        _check_age(stamp, 3 * tolerance_s if is_s3 else tolerance_s, now, is_s3=is_s3)
    request = _canonical(call, found["headers"].split(";"), is_s3=is_s3)
    scope = f"{found['day']}/{found['region']}/{found['service']}/aws4_request"
    to_sign = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{secrets[found['key']]}".encode()
    for part in (found["day"], found["region"], found["service"], "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    wanted = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    body_hash = call.headers.get("x-amz-content-sha256")
    is_other_body = body_hash is not None and re.fullmatch(r"[0-9a-f]{64}", body_hash) and body_hash != _hash(call.body)
    if is_other_body or not hmac.compare_digest(wanted, found["signature"]):
        is_older = found["service"] in ("s3", "sts")  # XML, with a code of its own
        raise Refusal(403, _MISMATCH, code="SignatureDoesNotMatch" if is_older else "InvalidSignatureException")


def _check_age(stamp: str, tolerance_s: float, now: float, *, is_s3: bool) -> None:
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        at = 0.0
    if abs(now - at) <= tolerance_s:
        return
    if is_s3:
        said = "The difference between the request time and the current time is too large."
        raise Refusal(403, said, code="RequestTimeTooSkewed")
    said = f"Signature {'expired' if at < now else 'not yet current'}: {stamp} is not within {tolerance_s:g} s of now"
    raise Refusal(403, said, code="InvalidSignatureException")


def _canonical(call: Call, names: list[str], *, is_s3: bool) -> str:
    path = call.raw_path if is_s3 else quote(call.raw_path, safe="/~")  # of all but S3 it is encoded once more
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in call.query.multi_items())
    headers = "".join(f"{name}:{','.join(' '.join(v.split()) for v in call.headers.getlist(name))}\n" for name in names)
    body = call.headers.get("x-amz-content-sha256") or _hash(call.body)
    query = "&".join(f"{name}={value}" for name, value in pairs)
    return "\n".join((call.method, path, query, headers, ";".join(names), body))


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
