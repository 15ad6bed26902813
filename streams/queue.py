"""Actions in flight: emitted and not known to have gone out. Each holds a slot of the limits, and can be recalled."""

from streams.customer import Customer, Proposal, Queued


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


def _take_back(customer: Customer, action_id: str, decision_id: str) -> None:
    last = customer.proposals.get(action_id)
    if last is None or last.decision_id != decision_id:
        return
    if last.before_ms:
        customer.proposals[action_id] = Proposal(last.before_ms, last.action_class)
    else:
        del customer.proposals[action_id]
