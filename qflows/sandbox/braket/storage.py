"""The part of S3 that Braket's SDK needs, path style: buckets, small objects, and results that tasks have written.

A result is not stored: it is generated from its task when it is read.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from xml.sax.saxutils import escape

from starlette.responses import Response

from qflows.sandbox.braket import render, results
from qflows.sandbox.braket.account import account_of, check_key, region_of
from qflows.sandbox.braket.devices import DEVICES
from qflows.sandbox.errors import Refusal
from qflows.sandbox.jobs import Job
from qflows.sandbox.vendor import Call, Route

READY_BUCKET = "amazon-braket-sandbox"  # present from the start, so that a first try needs no S3 call
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def has_bucket(call: Call, name: str) -> bool:
    """True if the bucket exists."""
    return name == READY_BUCKET or name in call.world.shelf("braket", "buckets") or _is_named_foreign(call, name)


def is_foreign(call: Call, name: str) -> bool:
    """True if the bucket belongs to another account than the caller's."""
    entry: Any = call.world.shelf("braket", "buckets").get(name) or {}
    return _is_named_foreign(call, name) or entry.get("account", account_of(call)) != account_of(call)


def region_of_bucket(call: Call, name: str) -> str:
    """The bucket's region; empty for a bucket that serves every region."""
    if name == READY_BUCKET:
        return str(call.switch("bucket_region"))
    entry: Any = call.world.shelf("braket", "buckets").get(name) or {}
    return str(entry.get("region", ""))


def _is_named_foreign(call: Call, name: str) -> bool:
    return name in str(call.switch("foreign_buckets")).split(",")


class Storage:
    """Handlers of S3's paths; they come last, because they match everything."""

    def routes(self) -> list[Route]:
        """Buckets and objects."""
        table = [
            ("s3_buckets", "GET", "/", self.buckets),
            ("s3_create_bucket", "PUT", "/{bucket}", self.create_bucket),
            ("s3_head_bucket", "HEAD", "/{bucket}", self.head_bucket),
            ("s3_list", "GET", "/{bucket}", self.list),
            ("s3_put", "PUT", "/{bucket}/{key:path}", self.put),
            ("s3_get", "GET", "/{bucket}/{key:path}", self.get),
            ("s3_head", "HEAD", "/{bucket}/{key:path}", self.get),
            ("s3_delete", "DELETE", "/{bucket}/{key:path}", self.delete),
        ]
        return [Route(name, method, path, _guarded(handler), is_open=True) for name, method, path, handler in table]

    async def buckets(self, call: Call) -> Response:
        """ListBuckets."""
        names = [READY_BUCKET, *call.world.shelf("braket", "buckets")]
        rows = "".join(f"<Bucket><Name>{escape(name)}</Name></Bucket>" for name in names)
        return _xml("ListAllMyBucketsResult", f"<Buckets>{rows}</Buckets>")

    async def create_bucket(self, call: Call) -> Response:
        """CreateBucket, in the region of the call; with a sub-resource (policy, publicAccessBlock) only an answer."""
        name = call.params["bucket"]
        if call.query:
            return Response(status_code=200, headers={"Location": f"/{name}"})
        region = region_of(call)
        named = re.search(rb"<LocationConstraint[^>]*>([a-z0-9-]+)<", call.body)
        wanted = named[1].decode() if named else "us-east-1"
        if named and wanted == "us-east-1":
            return _error(400, "InvalidLocationConstraint", "The specified location-constraint is not valid")
        if wanted != region and region != "us-east-1":
            said = f"The {wanted if named else 'unspecified'} location constraint is incompatible for this region."
            return _error(400, "IllegalLocationConstraintException", said)
        if has_bucket(call, name):
            if is_foreign(call, name):
                return _error(409, "BucketAlreadyExists", "The requested bucket name is not available.")
            if region != "us-east-1" or region_of_bucket(call, name) not in ("", "us-east-1"):
                return _error(409, "BucketAlreadyOwnedByYou", "Your previous request to create it succeeded.")
        else:
            entry = {"at": call.world.clock.now(), "region": wanted, "account": account_of(call)}
            call.world.shelf("braket", "buckets").put(name, entry)
        return Response(status_code=200, headers={"Location": f"/{name}"})

    async def head_bucket(self, call: Call) -> Response:
        """HeadBucket: 404, 403 for another account's, 301 with the region for one in another region."""
        name = call.params["bucket"]
        if not has_bucket(call, name):
            return Response(status_code=404)
        owner = call.headers.get("x-amz-expected-bucket-owner")
        if is_foreign(call, name) or owner not in (None, account_of(call)):
            return Response(status_code=403)
        there = region_of_bucket(call, name)
        headers = {"x-amz-bucket-region": there} if there else {}
        return Response(status_code=301 if there not in ("", region_of(call)) else 200, headers=headers)

    async def list(self, call: Call) -> Response:
        """ListObjectsV2 and GetBucketLocation."""
        bucket = call.params["bucket"]
        if refusal := _unreachable(call, bucket):
            return refusal
        if "location" in call.query:
            there = region_of_bucket(call, bucket)
            return _xml("LocationConstraint", "" if there == "us-east-1" else there)
        prefix = call.query.get("prefix", "")
        keys = sorted(key for key in self._keys(call, bucket) if key.startswith(prefix))[:1000]
        rows = "".join(f"<Contents><Key>{escape(key)}</Key><Size>0</Size></Contents>" for key in keys)
        head = f"<Name>{escape(bucket)}</Name><IsTruncated>false</IsTruncated><KeyCount>{len(keys)}</KeyCount>"
        return _xml("ListBucketResult", head + rows)

    def _keys(self, call: Call, bucket: str) -> Iterator[str]:
        yield from (
            name.partition("/")[2] for name in call.world.shelf("braket", "objects") if name.startswith(f"{bucket}/")
        )
        for job in call.world.jobs.all("braket"):
            if job.facts["bucket"] == bucket and _is_written(call, job):
                inline = call.switch("program_set_results") == "inline"
                yield from (f"{job.facts['directory']}/{path}" for path in results.paths(job, inline=inline))

    async def put(self, call: Call) -> Response:
        """PutObject, also with a body in signed chunks."""
        bucket, key = call.params["bucket"], call.params["key"]
        if refusal := _unreachable(call, bucket):
            return refusal
        body = _unchunked(call.body) if "aws-chunked" in call.headers.get("content-encoding", "") else call.body
        document = {"body": base64.b64encode(body).decode()}
        call.world.shelf("braket", "objects").put(f"{bucket}/{key}", document)
        return Response(status_code=200, headers={"ETag": _etag(body)})

    async def get(self, call: Call) -> Response:
        """GetObject and HeadObject."""
        bucket, key = call.params["bucket"], call.params["key"]
        if refusal := _unreachable(call, bucket):
            return refusal
        body = await self._read(call, bucket, key)
        if body is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        headers = {"ETag": _etag(body), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if call.method == "HEAD":
            return Response(headers=headers | {"Content-Length": str(len(body))})
        return Response(body, headers=headers, media_type="application/json")

    async def _read(self, call: Call, bucket: str, key: str) -> bytes | None:
        stored: Any = call.world.shelf("braket", "objects").get(f"{bucket}/{key}")
        if stored is not None:
            return base64.b64decode(stored["body"])
        job, path = _written_by(call, bucket, key)
        if job is None or job.deleted:
            return None
        await call.world.observe([job])
        if not _is_written(call, job):
            return None
        device = DEVICES[job.facts["deviceArn"]]
        only = device.name in str(call.switch("probabilities_only")).split(",")
        inline = call.switch("program_set_results") == "inline"
        return results.body(job, path, probabilities_only=only, inline=inline)

    async def delete(self, call: Call) -> Response:
        """DeleteObject; results of tasks stay."""
        call.world.shelf("braket", "objects").drop(f"{call.params['bucket']}/{call.params['key']}")
        return Response(status_code=204)


def _guarded(handler: Callable[[Call], Awaitable[Response]]) -> Callable[[Call], Awaitable[Response]]:
    """Check the signature as every call does, but refuse in S3's own format, which is XML."""

    async def guarded(call: Call) -> Response:
        try:
            check_key(call)
        except Refusal as refusal:
            return _error(refusal.status, refusal.code or "AccessDenied", refusal.message)
        return await handler(call)

    return guarded


def _written_by(call: Call, bucket: str, key: str) -> tuple[Job | None, str]:
    """The task whose directory contains a key, and the rest of the key."""
    parts = key.split("/")
    known = call.world.shelf("braket", "results")
    for place in range(len(parts) - 1, 0, -1):
        if entry := known.get(f"{bucket}/{'/'.join(parts[:place])}"):
            return call.world.jobs.get(entry["arn"]), "/".join(parts[place:])
    return None, ""


def _is_written(call: Call, job: Job) -> bool:
    if call.phase(job) != "done" or job.ended_at is None:
        return False
    if render.status(call, job) == "FAILED" and not call.switch("failed_set_has_results"):
        return False
    return call.world.clock.now() >= job.ended_at + call.switch("result_lag_s")


def _unreachable(call: Call, bucket: str) -> Response | None:
    """The refusal, if nothing can be read from or written to a bucket in this call."""
    if not has_bucket(call, bucket):
        return _error(404, "NoSuchBucket", "The specified bucket does not exist")
    if is_foreign(call, bucket):
        return _error(403, "AccessDenied", "Access Denied")
    there = region_of_bucket(call, bucket)
    if there in ("", region_of(call)) or "location" in call.query:
        return None
    said = "The bucket you are attempting to access must be addressed using the specified endpoint."
    refused = _error(301, "PermanentRedirect", said)
    refused.headers["x-amz-bucket-region"] = there
    return refused


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _unchunked(body: bytes) -> bytes:
    """The payload of `aws-chunked` encoding: size in hex, perhaps a signature, CRLF, data, CRLF; trailers follow."""
    parts: list[bytes] = []
    rest = body
    while rest:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head.partition(b";")[0] or b"0", 16)
        if size == 0:
            break
        parts.append(rest[:size])
        rest = rest[size + 2 :]
    return b"".join(parts)


def _xml(root: str, inner: str) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{_NAMESPACE}">{inner}</{root}>'
    return Response(text, media_type="application/xml")


def _error(status: int, code: str, message: str) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(text, status, media_type="application/xml")
