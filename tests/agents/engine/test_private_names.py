"""Names of faust-streaming 0.15.3 and aiokafka 0.14 that are private and that the engine leans on."""

import inspect

import faust
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.producer import AIOKafkaProducer
from aiokafka.producer.sender import Sender
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from mode import Service
from mode.threads import ServiceThread


def test_versions_are_the_ones_that_were_read() -> None:
    """The engine overrides private names of exactly this release; another one must be read first."""
    assert faust.__version__ == "0.15.3"


def test_the_consumer_thread_builds_its_consumer_and_commits_where_we_override() -> None:
    """`_create_worker_consumer`, `_commit`, `seek_wait`, `call_thread` exist with the signatures that we call."""
    thread = driver.AIOKafkaConsumerThread
    assert list(inspect.signature(thread._create_worker_consumer).parameters) == ["self", "transport"]
    assert list(inspect.signature(thread._commit).parameters) == ["self", "offsets"]
    assert list(inspect.signature(thread.seek_wait).parameters) == ["self", "partitions"]
    assert callable(thread.call_thread)


def test_the_consumer_thread_can_live_in_the_loop_that_starts_it() -> None:
    """It takes the loop of its thread, closes it only if it made it, and is a service whose parts we call instead."""
    thread = driver.AIOKafkaConsumerThread
    assert "thread_loop" in inspect.signature(ServiceThread.__init__).parameters
    assert "_close_thread_loop_on_stop = thread_loop is None" in inspect.getsource(ServiceThread.__init__)
    assert "self._consumer.stop()" in inspect.getsource(thread.on_thread_stop)
    assert "self.thread_loop" in inspect.getsource(thread.on_start)
    for name in ("_default_start", "_default_stop_futures", "_started"):
        assert name in inspect.getsource(Service)


def test_clients_of_faust_are_started_where_we_wait_for_a_cluster() -> None:
    """Consumer and producer are made, kept and started in `on_start`, which we replace with the same and a wait."""
    source = inspect.getsource(driver.AIOKafkaConsumerThread.on_start)
    for name in ("self._consumer = self._create_consumer(loop=self.thread_loop)", "self.time_started = monotonic()"):
        assert name in source
    source = inspect.getsource(driver.Producer.on_start)
    for name in ("super().on_start()", "producer = self._producer = self._new_producer()", "self.beacon.add(producer)"):
        assert name in source


def test_the_drain_loop_reads_through_getmany_and_read_offsets() -> None:
    """Faust drains `getmany`, and looks up and stores read offsets by item, which we replace."""
    source = inspect.getsource(Consumer._drain_messages)
    for name in ("self.getmany", "self._read_offset.__getitem__", "self._read_offset.__setitem__", "acks_enabled_for"):
        assert name in source
    assert list(inspect.signature(Consumer.getmany).parameters) == ["self", "timeout"]


def test_recovery_without_tables_only_resumes_and_seeks() -> None:
    """With no Faust table, recovery calls `_resume_streams`, which calls `consumer.perform_seek` within a time-out."""
    assert "if not self.tables" in inspect.getsource(Recovery._restart_recovery.fun)
    source = inspect.getsource(Recovery._resume_streams)
    assert "consumer.perform_seek(), timeout=self.app.conf.broker_request_timeout" in source


def test_revocation_waits_for_the_consumer_to_be_empty() -> None:
    """Before partitions are given up and at the end Faust calls `consumer.wait_empty`."""
    assert "_consumer_wait_empty" in inspect.getsource(faust.App._on_partitions_revoked)
    assert "wait_empty" in inspect.getsource(faust.App._consumer_wait_empty)


def test_the_producer_can_be_killed() -> None:
    """aiokafka's producer has `_sender`, `_message_accumulator`, `client`; its sender has `sender_task`."""
    source = inspect.getsource(AIOKafkaProducer.__init__)
    for name in ("self._sender = ", "self._message_accumulator = ", "self.client = "):
        assert name in source
    assert isinstance(Sender.sender_task, property)
    assert callable(MessageAccumulator.fail_all)
