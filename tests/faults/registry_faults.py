"""What can go wrong with the schema registry that producers write by."""

import asyncio

from tests.faults.faults import Fault
from tests.faults.main_job import MainJob
from tests.faults.recovery import Recovery


async def away(job: MainJob, recovery: Recovery) -> None:
    """Kill the registry, then the router: the next one knows no ids. Start the registry again once it waits."""
    assert job.registry is not None
    job.registry.kill()
    recovery.begins()
    await recovery.over()  # who knows the schemas does not ask again
    job.kill("router")
    try:
        job.start("router")
        async with asyncio.timeout(60):
            while f" waits: GET {job.registry.url}" not in job.log("router"):
                await asyncio.sleep(0.2)
    finally:
        job.registry.start()  # from the main thread, which it dies with
    recovery.begins()
    await recovery.over()


REGISTRY_FAULTS = (
    Fault(
        "the schema registry is away, and the router starts anew",
        "one that knows the schemas goes on; the next waits, loses nothing and goes on by itself",
        "its return",
        away,
    ),
)
