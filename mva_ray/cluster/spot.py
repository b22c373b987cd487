"""The notice that AWS gives a spot instance two minutes before it takes it away.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx2

METADATA = "http://169.254.169.254"
EVERY_S = 5.0
_TOKEN_LIVES_S = 300


def seconds_left(metadata: httpx2.Client) -> float | None:
    """Until this instance is taken away, at least 0; None where no notice has been given.

    Args:
        metadata: a client of the instance's metadata, version 2.

    Raises:
        httpx2.HTTPError: this is no instance of AWS, or it does not answer.
    """
    asked = metadata.put("/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_LIVES_S)})
    headers = {"X-aws-ec2-metadata-token": asked.raise_for_status().text}
    notice = metadata.get("/latest/meta-data/spot/instance-action", headers=headers)
    if notice.status_code == httpx2.codes.NOT_FOUND:
        return None
    at = datetime.fromisoformat(notice.raise_for_status().json()["time"])
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def watch(left: Callable[[], float | None], drain: Callable[[float], None], sleep: Callable[[float], None]) -> None:
    """Ask for notice until there is one, then drain this node once; an answer that fails is asked for again."""
    while True:
        try:
            seconds = left()
        except httpx2.HTTPError as error:
            print(f"no answer: {error}", flush=True)
            seconds = None
        if seconds is not None:
            print(f"this instance is taken away in {seconds:.0f} s", flush=True)
            drain(seconds)
            return
        sleep(EVERY_S)


def watch_this_instance(drain: Callable[[float], None]) -> None:
    """Drain this node when its instance gets notice; returns then, or at once where this is no instance of AWS."""
    with httpx2.Client(base_url=METADATA, timeout=2.0, trust_env=False) as metadata:
        try:
            seconds_left(metadata)
        except httpx2.HTTPError as error:
            print(f"no notices here: {error}", flush=True)
            return
        watch(lambda: seconds_left(metadata), drain, time.sleep)
