"""Versions of the core's behaviour, made active through the journal like a document.

A release that changes what a record does to a state or to outputs keeps the old behaviour and switches by the
partition's `logic`, so that workers of two releases fold alike while they run side by side, and a replay of last
year's journal gives last year's bytes. A partition whose journal has activated a version that this release does not
know waits for a newer release. `attune logic activate` switches when every worker has been replaced.
"""

from typing import Final

FIRST: Final = 1
"""What a journal begins with."""

NEWEST: Final = 1
"""The newest version that this release knows."""
