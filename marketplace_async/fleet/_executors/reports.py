"""The reports of workers."""

import attrs

from ..._core.serializable import Serializable


@attrs.frozen(kw_only=True)
class WorkerReport(Serializable):
    """What one worker did for a job.

    Attributes:
        name: The worker, such as "process 1" or its address.
        shards: Number of shards, or parts of shards, that it finished.
        accounts: Number of accounts with a result.
        sent: Requests that it sent.
        throttled: Requests that Twilio throttled (429).
        unfit: Why it could not do the job. None if it could.
        lost: Why it was lost, such as "process 1 was killed by SIGKILL". None if it was not.
    """

    name: str
    shards: int = 0
    accounts: int = 0
    sent: int = 0
    throttled: int = 0
    unfit: str | None = None
    lost: str | None = None
