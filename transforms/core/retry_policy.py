"""How long to wait before the next attempt, and when to stop trying."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How hard a request is tried.

    Attributes:
        max_attempts: attempts at one request, the first included; after them the endpoint is probed.
        deadline_seconds: from the first attempt; an attempt that would start later is not made.
        first_delay_seconds: bound of the first random delay; it doubles with each attempt.
        max_delay_seconds: bound of any random delay.
        max_server_wait_seconds: a longer wait asked for by the server stops the run instead: such waits are daily limits.
        budget: retries that may be spent ahead of successes, in points; guards a struggling server against a retry storm.
        cost_of_retry: points taken by a retry after a refusal that cost the server little, such as a 429.
        cost_of_transient: points taken by a retry after a failure in the server.
        gain_of_success: points given back by a good answer.

    Source: AWS full jitter; costs as in botocore's retry quota; 120 s as in openai-python.
    """

    max_attempts: int = 8
    deadline_seconds: float = 600.0
    first_delay_seconds: float = 0.5
    max_delay_seconds: float = 30.0
    max_server_wait_seconds: float = 120.0
    budget: int = 500
    cost_of_retry: int = 5
    cost_of_transient: int = 14
    gain_of_success: int = 10

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be 1 or more, got {self.max_attempts}")
        for name in (
            "deadline_seconds",
            "first_delay_seconds",
            "max_delay_seconds",
            "max_server_wait_seconds",
            "budget",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


def delay_before_next_attempt(
    policy: RetryPolicy, attempt: int, elapsed_seconds: float, server_wait: float | None, jitter: float
) -> float | None:
    """Decide how long to wait before trying a request again.

    Args:
        attempt: number of the attempt that just failed; the first is 1.
        elapsed_seconds: since the first attempt began.
        server_wait: what the server asked for, None when it did not; it wins, plus up to a tenth so that threads part.
        jitter: a fraction in [0, 1) supplied by the caller, so that this function stays repeatable.

    Returns:
        Seconds to wait; None when the attempts or the time are used up.

    Source: full-jitter backoff, ``U(0, min(cap, first * 2^(attempt-1)))``.
    """
    if attempt >= policy.max_attempts:
        return None
    if server_wait is not None:
        delay = server_wait * (1 + 0.1 * jitter)
    else:
        delay = jitter * min(policy.max_delay_seconds, policy.first_delay_seconds * 2 ** (attempt - 1))
    return delay if elapsed_seconds + delay <= policy.deadline_seconds else None


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Points left for retries over all threads of a process; ``spend`` and ``earn`` give the next state."""

    points: int

    def spend(self, policy: RetryPolicy, transient: bool) -> "RetryBudget | None":
        """Take the cost of one retry; None when too few points are left."""
        cost = policy.cost_of_transient if transient else policy.cost_of_retry
        return replace(self, points=self.points - cost) if self.points >= cost else None

    def earn(self, policy: RetryPolicy) -> "RetryBudget":
        """Give points back for a good answer, never above the policy's budget."""
        return replace(self, points=min(policy.budget, self.points + policy.gain_of_success))
