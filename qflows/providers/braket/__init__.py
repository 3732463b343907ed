"""Amazon Braket, API 2019-09-01, through boto3."""
