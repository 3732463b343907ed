"""Which AWS credentials, which region, which bucket: from a credentials block, otherwise from the usual environment.

Variables: those of boto3 (`AWS_*`), and the Braket SDK's `AMZN_BRAKET_TASK_RESULTS_S3_URI` and
`AMZN_BRAKET_OUT_S3_BUCKET` (amazon-braket-sdk 1.88.1).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from qflows.errors import CredentialsMissing, Refused
from qflows.privacy.accounts import account_name
from qflows.privacy.redaction import protect
from qflows.providers.braket.aws import Aws
from qflows.providers.braket.buckets import REMEDY, trouble_with

PREFIX = "qflows"
_DEFAULT_REGION = "us-east-1"
# static keys name an account; temporary ones change by the hour and must not change the polling lane
_STATIC = frozenset({"explicit", "env", "shared-credentials-file", "config-file"})


@dataclass
class Account:
    """Where to run and where results go. `region` is for managed simulators; QPUs name their own."""

    name: str
    region: str
    endpoint_url: str | None
    bucket: str | None
    prefix: str
    keeps_quotas: bool | None
    aws: Aws | None = field(default=None, repr=False)
    _default_buckets: dict[str, str] = field(default_factory=dict, repr=False)
    _checked: set[tuple[str, str]] = field(default_factory=set, repr=False)  # usable pairs of region and bucket
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def is_amazon(self) -> bool:
        """True unless the address of Braket was changed."""
        return not (self.endpoint_url or _other_address())

    @staticmethod
    def of(given: Mapping[str, Any]) -> tuple[Account, Any]:
        """The account and its boto3 session. Raises CredentialsMissing if boto3 finds no credentials."""
        from botocore.exceptions import ProfileNotFound

        try:
            session = _session(given)
            credentials = session.get_credentials()
        except ProfileNotFound as error:
            raise CredentialsMissing(f"{error}; check ~/.aws/config") from None
        if credentials is None:
            raise CredentialsMissing(
                "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or save a "
                "qflows-braket-credentials block and name it in the device profile; without an account, "
                "`qflows sandbox start` gives a Braket API to try"
            )
        if credentials.method in _STATIC:  # others are fetched later, and protected when they sign
            protect(credentials.access_key, credentials.secret_key, credentials.token)
        endpoint = given.get("endpoint_url") or os.environ.get("BRAKET_ENDPOINT") or None
        uri = urlsplit(os.environ.get("AMZN_BRAKET_TASK_RESULTS_S3_URI", ""))
        prefix = given.get("s3_prefix") or uri.path.strip("/") or PREFIX
        account = Account(
            name=_name(given, credentials, session.profile_name, endpoint),
            region=session.region_name or _DEFAULT_REGION,
            endpoint_url=endpoint,
            bucket=given.get("s3_bucket") or uri.netloc or os.environ.get("AMZN_BRAKET_OUT_S3_BUCKET") or None,
            prefix=str(prefix).strip("/"),
            keeps_quotas=given.get("keeps_quotas"),
        )
        return account, session

    def place(self, region: str) -> tuple[str, str]:
        """(bucket, prefix) for results of tasks in a region.

        If no bucket is given, it is the SDK's own, `amazon-braket-<region>-<account>`, created on first use as the SDK
        does. Raises Refused for a bucket that does not exist, is not ours to use or is in another region: nobody could
        read the results.
        """
        with self._lock:
            if self.bucket:
                self._check(region, self.bucket)
                return self.bucket, self.prefix
            if region not in self._default_buckets:
                self._default_buckets[region] = self._default_bucket(region)
            return self._default_buckets[region], self.prefix

    def _check(self, region: str, bucket: str) -> None:
        if (region, bucket) in self._checked:
            return
        assert self.aws is not None, "an account is used through its provider"
        if trouble := trouble_with(self.aws, region, bucket):
            raise Refused(f"{trouble}; {REMEDY}; nothing was sent", provider="braket")
        self._checked.add((region, bucket))

    def _default_bucket(self, region: str) -> str:
        assert self.aws is not None, "an account is used through its provider"
        number = self.aws.call("sts", region, "GetCallerIdentity")["Account"]
        name = f"amazon-braket-{region}-{number}"
        try:
            # the name can be guessed, so somebody else may have created the bucket and opened it to us
            self.aws.call("s3", region, "HeadBucket", Bucket=name, ExpectedBucketOwner=number)
        except Refused as error:
            if error.http_status == 403:
                said = f"the bucket {name}, the SDK's default for results, belongs to another account, or may not be"
                remedy = "looked at (s3:ListBucket); set s3_bucket (AMZN_BRAKET_OUT_S3_BUCKET) to one of your own"
                raise Refused(f"{said} {remedy}; nothing was sent", provider="braket", http_status=403) from error
            if error.http_status != 404:
                raise
            # us-east-1 must not be named
            where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            self.aws.call("s3", region, "CreateBucket", Bucket=name, **where)
        return name


def _session(given: Mapping[str, Any]) -> Any:
    from boto3.session import Session

    session = Session(
        botocore_session=_core(given.get("profile")),
        aws_access_key_id=_plain(given.get("aws_access_key_id")),
        aws_secret_access_key=_plain(given.get("aws_secret_access_key")),
        aws_session_token=_plain(given.get("aws_session_token")),
        region_name=given.get("region") or os.environ.get("AWS_REGION") or None,
    )
    if role := given.get("role_arn"):
        return _assumed(session, str(role), given.get("endpoint_url"))
    return session


def _core(profile: str | None) -> Any:
    """A botocore session that shares what botocore reads from its own files: saves 0.1 s of CPU per connection."""
    import botocore.session

    core = botocore.session.Session(profile=profile)
    core.register_component("data_loader", _loader())
    return core


@cache
def _loader() -> Any:
    from botocore.loaders import Loader

    return Loader()


def _assumed(session: Any, role_arn: str, endpoint_url: str | None) -> Any:
    """A session that assumes a role when its first request is signed, and again before the role's hour is over."""
    from boto3.session import Session
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    core = _core(None)

    def create_client(*args: Any, **kwargs: Any) -> Any:
        return session.client(*args, **kwargs, endpoint_url=endpoint_url)

    fetcher = AssumeRoleCredentialFetcher(
        create_client, session.get_credentials(), role_arn, extra_args={"RoleSessionName": "qflows"}
    )
    core._credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    return Session(botocore_session=core, region_name=session.region_name)


def _plain(secret: Any) -> str | None:
    value = secret.get_secret_value() if hasattr(secret, "get_secret_value") else secret
    return str(value) if value else None


def _name(given: Mapping[str, Any], credentials: Any, profile: str, endpoint: str | None) -> str:
    """A name that shows no secret and stays the same while temporary keys are renewed."""
    if role := given.get("role_arn"):
        who = str(role)
    elif credentials.method in _STATIC:
        who = credentials.access_key
    else:
        who = f"{credentials.method}:{profile}"
    address = endpoint or _other_address()
    return account_name(address, who)


def _other_address() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_BRAKET") or os.environ.get("AWS_ENDPOINT_URL") or ""
