"""What can go wrong in the engine, each with what to do about it."""


class EngineError(Exception):
    """Any failure of the engine; the message says what to do next."""


class Refused(EngineError):
    """A partition that must not be processed as it stands; the message names the remedy."""


class ForeignAppend(EngineError):
    """Somebody else appended to a changelog that this process believed to own."""


class SendAbandoned(EngineError):
    """A send was not acknowledged in time; its fate is unknown, so its producer must go."""


class OffsetGone(EngineError):
    """A log was asked for what lies outside it: it lost its end or beginning, or a broker that was cut off tells so."""


class BatchTooLarge(EngineError):
    """One batch does not fit into one record batch of the log."""


class Superseded(EngineError):
    """The group gave out partitions anew while some were being restored: what was restored is dropped."""


class OverBudget(EngineError):
    """The states of this process take more memory than it may use: partitions wait, nothing is dropped."""


class UnreadableState(EngineError):
    """A stored state cannot be decoded: no record is to blame, so the partition waits for a release that can."""

    retry_later = True


class OversizedState(ValueError):
    """A record would make one state larger than the job allows; the record is dead-lettered."""

    quotes_no_values = True


class OversizedOutput(ValueError):
    """A record would cause an output larger than the job allows; the record is dead-lettered."""

    quotes_no_values = True


def wants_retry(error: BaseException) -> bool:
    """Return whether a step asks to be called again later (attribute `retry_later`) for this record."""
    return bool(getattr(error, "retry_later", False))
