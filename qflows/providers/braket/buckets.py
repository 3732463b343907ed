"""Whether a results bucket can take results of tasks in a region: it exists, is ours to use, and is in that region."""

from __future__ import annotations

from qflows.errors import Refused
from qflows.providers.braket.aws import Aws

REMEDY = "set s3_bucket (AMZN_BRAKET_OUT_S3_BUCKET) to a bucket of your own in that region, or to none: the SDK's own"


def trouble_with(aws: Aws, region: str, bucket: str, *, owner: str | None = None) -> str | None:
    """What is wrong with a bucket for tasks of this region; None if nothing is. One HeadBucket.

    A bucket of another region answers 301 or 400 and names its region in a header; one of another owner 403, as does
    one that may not be listed. With `owner`, an account number, anybody else's bucket is refused even if its policy
    would let us in.
    """
    expected = {"ExpectedBucketOwner": owner} if owner else {}
    try:
        answer = aws.call("s3", region, "HeadBucket", Bucket=bucket, **expected)
    except Refused as error:
        if error.http_status == 404:
            return f"the results bucket {bucket} does not exist"
        if error.http_status == 403:
            return (
                f"the results bucket {bucket} belongs to another account, or these credentials may not look at it "
                "(s3:ListBucket)"
            )
        if error.http_status in (301, 400):
            return _elsewhere(bucket, region, None)
        raise
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    there = answer.get("BucketRegion") or headers.get("x-amz-bucket-region")
    return _elsewhere(bucket, region, str(there)) if there and there != region else None


def _elsewhere(bucket: str, region: str, there: str | None) -> str:
    where = f"in {there}" if there else "in another region"
    return f"the results bucket {bucket} is {where}, and tasks of {region} need one in {region}"
