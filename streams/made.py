"""Contacts that the company made: what the channels report of them, and what the customer answered.

An action waits in the queue until any sign that it went out; then it is a contact made. Contacts of other tools count
like our own: limits are for persons, not for senders. Response is a click, an acceptance or a rejection; an opening
alone is none, and what a machine did (attribute `machine: true`) is none either.
"""

from typing import Final

from schemas.vocabulary import ActionClass, Outcome
from streams import queue
from streams.clock import DAY_MS
from streams.contacts import identity
from streams.customer import DAYS_KEPT, MADE, SEEN, Customer, Made
from streams.meaning import Event

KEPT_MS: Final = DAYS_KEPT * DAY_MS

LONGEST_OUTSIDE_REFERENCE: Final = 64
"""Characters of another tool's reference that are kept."""

ACCEPT: Final = Outcome.ACCEPT.value
REJECT: Final = Outcome.REJECT.value
CLICK: Final = Outcome.CLICK.value
IMPRESSION: Final = Outcome.IMPRESSION.value
NO_RESPONSE: Final = Outcome.NO_RESPONSE.value

_STRENGTH: Final = {outcome.value: strength for strength, outcome in enumerate(Outcome)}
_FINAL: Final = (ACCEPT, REJECT)
_CLASSES: Final = frozenset(action_class.value for action_class in ActionClass)
_MARKETING: Final = ActionClass.MARKETING.value


def sent(customer: Customer, event: Event) -> None:
    """Fold `message.sent`: dispatched, so it can no longer be recalled.

    The newest report counts, in whatever order they come; a time that was only inferred gives way to any.
    """
    customer.messages_sent += 1
    made = _find(customer, event) or _outside(customer, event)
    at = event["occurred_at"]
    made.at_ms = max(made.at_ms, at) if made.sent else at
    made.sent = True


def delivered(customer: Customer, event: Event) -> None:
    """Fold delivery or opening: it went out, whether or not that was reported; the clock of silence starts here."""
    made = _find(customer, event)
    if made is not None and not made.delivered_ms:
        made.delivered_ms = event["occurred_at"]


def clicked(customer: Customer, event: Event) -> None:
    """Fold `message.clicked`, unless a machine did it."""
    delivered(customer, event)
    if event["attributes"].get("machine") != "true":
        _respond(customer, event, CLICK)


def ignored(customer: Customer, event: Event) -> None:
    """Fold `message.ignored`: the channel says that there was no response."""
    delivered(customer, event)
    _respond(customer, event, NO_RESPONSE)


def bounced(customer: Customer, event: Event) -> None:
    """Fold `message.bounced`: it reached nobody, so that the action counts as never proposed, reported sent or not."""
    decision_id = event["decision_id"]
    if decision_id:
        customer.made.pop(decision_id, None)
        queue.undo(customer, decision_id)


def withheld(customer: Customer, event: Event) -> None:
    """Fold `message.withheld`: the channel spared the customer; the action counts as never proposed."""
    decision_id = event["decision_id"]
    if not decision_id:
        return
    if queue.release(customer, decision_id) is None:
        made = customer.made.get(decision_id)
        if made is not None and not made.confirmed:
            del customer.made[decision_id]
            queue.undo(customer, decision_id)


def presented(customer: Customer, event: Event) -> None:
    """Fold `offer.presented`, also of offers that other tools made: the first display is the contact."""
    customer.offers_presented += 1
    at = event["occurred_at"]
    before = customer.made.get(event["decision_id"])
    again = before is not None and before.confirmed
    made = _find(customer, event)
    if made is None:
        made = _outside(customer, event)
    elif again:
        made.seen.append(at)
        if len(made.seen) > SEEN:
            made.seen.sort()
            customer.made_forgotten_ms = max(customer.made_forgotten_ms, made.seen.pop(0))
    if not made.delivered_ms:
        made.delivered_ms = at
    _answer(made, IMPRESSION, at)


def accepted(customer: Customer, event: Event) -> None:
    """Fold `offer.accepted`."""
    customer.offers_accepted += 1
    customer.last_accept_ms = max(customer.last_accept_ms, event["occurred_at"])
    _respond(customer, event, ACCEPT)


def rejected(customer: Customer, event: Event) -> None:
    """Fold `offer.rejected`."""
    customer.offers_rejected += 1
    customer.last_reject_ms = max(customer.last_reject_ms, event["occurred_at"])
    _respond(customer, event, REJECT)


def expire(customer: Customer, now_ms: int) -> None:
    """Take actions past their validity out of the queue; no channel may deliver them any more.

    Whether one went out in time, its channel has yet to say: until then it counts at its last moment.
    """
    expired = [(id_, queued) for id_, queued in customer.queue.items() if queued.valid_until_ms < now_ms]
    for id_, queued in expired:
        del customer.queue[id_]
        until = queued.valid_until_ms
        _keep(
            customer,
            id_,
            Made(
                queued.action_id,
                queued.issue,
                queued.group,
                queued.channel,
                queued.action_class,
                until,
                confirmed=False,
                valid_until_ms=until,
            ),
        )


def answered(customer: Customer) -> list[str]:
    """Return the decisions whose action the customer has accepted or rejected: nothing is left of them to do."""
    return sorted(id_ for id_, made in customer.made.items() if made.outcome in _FINAL)


def newest(customer: Customer) -> Made | None:
    """Return the contact that went out last, by time and then by when it was heard of."""
    found: Made | None = None
    for made in customer.made.values():
        if made.confirmed and (found is None or made.at_ms >= found.at_ms):
            found = made
    return found


def silent_ms(customer: Customer, since_ms: int, now_ms: int) -> int:
    """Return how long it is since a delivery, the times under suppression left out."""
    silent = now_ms - since_ms
    spans = list(zip(customer.held[::2], customer.held[1::2], strict=True))
    if customer.hold is not None:
        spans.append((customer.hold.started_ms, now_ms))
    for begin, end in spans:
        silent -= max(0, min(end, now_ms) - max(begin, since_ms))
    return silent


def _respond(customer: Customer, event: Event, outcome: str) -> None:
    made = _find(customer, event)
    if made is not None:
        _answer(made, outcome, event["occurred_at"])


def _answer(made: Made, outcome: str, at: int) -> None:
    """Note a response: of acceptance and rejection the newest counts, of the rest the strongest."""
    if outcome in _FINAL and made.outcome in _FINAL:
        newer = (at, outcome == ACCEPT) > (made.outcome_ms, made.outcome == ACCEPT)
    else:
        newer = _STRENGTH[outcome] > _STRENGTH[made.outcome]
    if newer:
        made.outcome, made.outcome_ms = outcome, at


def _find(customer: Customer, event: Event) -> Made | None:
    """Return the contact that an event quotes; with that it went out, if nothing had said so before."""
    decision_id = event["decision_id"]
    if not decision_id:
        return None
    waiting = customer.queue.pop(decision_id, None)
    if waiting is None:
        made = customer.made.get(decision_id)
        if made is not None and not made.confirmed:
            made.confirmed, made.at_ms = True, event["occurred_at"]
        return made
    made = Made(
        waiting.action_id,
        waiting.issue,
        waiting.group,
        waiting.channel,
        waiting.action_class,
        event["occurred_at"],
        valid_until_ms=waiting.valid_until_ms,
    )
    return _keep(customer, decision_id, made)


def _outside(customer: Customer, event: Event) -> Made:
    """Note a contact that no decision of ours in memory asked for; without a word on its class it is marketing."""
    action_class = event["attributes"].get("class", _MARKETING)
    made = Made(
        (event["reference"] or "")[:LONGEST_OUTSIDE_REFERENCE],
        "",
        "",
        event["channel"],
        action_class if action_class in _CLASSES else _MARKETING,
        event["occurred_at"],
    )
    return _keep(customer, f"~{identity(event).hex()}", made)


def _keep(customer: Customer, id_: str, made: Made) -> Made:
    """Remember a contact; what is too old for any window goes, and of too many the oldest, which limits are told."""
    kept = customer.made
    horizon = made.at_ms - KEPT_MS
    while kept:
        oldest = next(iter(kept))
        if kept[oldest].at_ms > horizon:
            break
        del kept[oldest]
    if len(kept) >= MADE:
        oldest = min(kept, key=lambda known: (kept[known].at_ms, known))
        gone = kept.pop(oldest)
        customer.made_forgotten_ms = max(customer.made_forgotten_ms, gone.at_ms, *gone.seen)
    kept[id_] = made
    return made
