"""Actions in flight: emitted and not confirmed as dispatched. They can be recalled, and expire."""

from streams.customer import Customer, Queued


def leave(customer: Customer, decision_id: str | None) -> None:
    """Take an action out that reached its channel, by whatever sign of it."""
    if decision_id is not None:
        customer.queue.pop(decision_id, None)


def release(customer: Customer, decision_id: str) -> Queued | None:
    """Take an action out that did not and will not go out; as if it had not been proposed."""
    queued = customer.queue.pop(decision_id, None)
    if queued is None:
        return None
    last = customer.proposals.get(queued.action_id)
    if last is not None and last.at_ms == queued.decided_ms:
        if queued.before_ms:
            customer.proposals[queued.action_id] = type(last)(queued.before_ms, last.action_class)
        else:
            del customer.proposals[queued.action_id]
    return queued


def expire(customer: Customer, now_ms: int) -> None:
    """Drop actions past their validity; no channel may deliver them any more."""
    expired = [id_ for id_, queued in customer.queue.items() if queued.valid_until_ms < now_ms]
    for id_ in expired:
        del customer.queue[id_]
