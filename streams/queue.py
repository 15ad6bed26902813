"""Actions in flight: emitted and not confirmed as dispatched. They can be recalled, and expire."""

from streams.customer import Customer, Proposal, Queued


def leave(customer: Customer, decision_id: str | None) -> None:
    """Take an action out that reached its channel, by whatever sign of it."""
    if decision_id is not None:
        customer.queue.pop(decision_id, None)


def release(customer: Customer, decision_id: str) -> Queued | None:
    """Take an action out that did not and will not go out; as if it had not been proposed."""
    queued = customer.queue.pop(decision_id, None)
    if queued is None:
        return None
    _take_back(customer, queued.action_id, decision_id)
    return queued


def undo(customer: Customer, decision_id: str) -> None:
    """Release an action that went out and did not arrive: also one that is no longer in the queue.

    What is known of it then is its action's last proposal; of an earlier one there is nothing left to release.
    """
    if release(customer, decision_id) is None:
        for action_id, last in customer.proposals.items():
            if last.decision_id == decision_id:
                _take_back(customer, action_id, decision_id)
                return


def expire(customer: Customer, now_ms: int) -> None:
    """Drop actions past their validity; no channel may deliver them any more."""
    expired = [id_ for id_, queued in customer.queue.items() if queued.valid_until_ms < now_ms]
    for id_ in expired:
        del customer.queue[id_]


def _take_back(customer: Customer, action_id: str, decision_id: str) -> None:
    last = customer.proposals.get(action_id)
    if last is None or last.decision_id != decision_id:
        return
    if last.before_ms:
        customer.proposals[action_id] = Proposal(last.before_ms, last.action_class)
    else:
        del customer.proposals[action_id]
