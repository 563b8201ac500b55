"""boto3: Bedrock and S3. Its calls carry no key of their own; the same call by the same program is told by its body."""

import boto3
from botocore.config import Config
from steps import often, step, streamed

once_only = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
session = boto3.Session(aws_access_key_id="AKIA", aws_secret_access_key="secret", region_name="us-east-1")
bedrock = session.client("bedrock-runtime", config=once_only)
s3 = session.client("s3", config=once_only)
SAID = [{"role": "user", "content": [{"text": "hi"}]}]


def text(answer):
    return answer["output"]["message"]["content"][0]["text"]


def stream():
    events = bedrock.converse_stream(modelId="stream", messages=SAID)["stream"]
    return streamed("contentBlockDelta" in event for event in events)


def cached():
    return s3.get_object(Bucket="agent-files", Key="cached")["Body"].read().decode()


def once():
    return bedrock.converse(modelId="once", messages=SAID)["metrics"]["latencyMs"]


step("plain", lambda: text(bedrock.converse(modelId="plain", messages=SAID)))
step("stream", stream)
step("retry", lambda: text(bedrock.converse(modelId="flaky", messages=SAID)))
step("cache", lambda: f"{cached()} {cached()}")
step("dedup", lambda: f"{once()} {once()}")
step("breaker", lambda: often(lambda: bedrock.converse(modelId="down", messages=SAID)))
