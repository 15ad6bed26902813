"""A real Prometheus that scrapes real processes of Attune: every panel and every alert is asked of it."""

import asyncio
import contextlib
import dataclasses
import json
import math
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import psutil
import pytest
import yaml

from agents.settings import variable
from schemas import topics
from tests.deploy import tools
from tests.faults.main_job import ROOT, MainJob, main_job

pytestmark = [pytest.mark.prometheus, pytest.mark.kafka]

STALLED, STOPPED = "slow-channel", "gone-channel"
PATIENCE_SECONDS = 60.0
OTHERS = {
    "exporter": ["--interval", "0.5", "--window", "5"],
    "connector": ["--delay-hours", "0"],
    "api": ["--port", "0"],
}
"""Processes beside the workers, and their flags."""
MAY_BE_EMPTY = {
    "Restores running": "a restore of a few hundred states is over before the first scrape",
}
"""Panels that show nothing in a healthy system, and why."""

Rows = list[dict[str, Any]]


@dataclasses.dataclass
class Watched:
    """A main job with its exporter and a Prometheus that scrapes all of it."""

    job: MainJob
    prometheus: str
    pages: list[str]

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of Prometheus; fail where it is an error."""
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        answer = json.loads(get(url))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> Rows:
        """Return the rows of an expression at this moment, those that are no number left out."""
        rows: Rows = self.ask("query", query=expression)["result"]
        return [row for row in rows if not math.isnan(float(row["value"][1]))]

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until something holds, and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := holds()):
            assert time.monotonic() < deadline, f"{what}\n{self.job.logs()}"
            time.sleep(0.3)
        return found


def get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{url}: {error.read().decode()}") from None


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Yield the main job under Prometheus, after some traffic: good, repeated, poison; two groups that lag."""
    prometheus, directory = tools.tool("prometheus"), tmp_path_factory.mktemp("watched")
    with asyncio.Runner() as runner, contextlib.ExitStack() as ending:
        running = main_job(directory, seed=5)
        job = runner.run(running.__aenter__())
        ending.callback(lambda: runner.run(running.__aexit__(None, None, None)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable("metrics.port"), "0")
            job.start_all()
            job.start("views")
            for name in OTHERS:
                start(job, name)
        pages = {name: page_of(job, name) for name in job.workers}
        address = ending.enter_context(scraping(prometheus, directory, pages))
        found = Watched(job, address, list(pages.values()))
        found.until(lambda: len(found.query("up == 1")) == len(pages), "not every process answers Prometheus")
        found.until(lambda: found.query("attune_exporter_looks_total > 1"), "the exporter does not look")
        runner.run(traffic(job))
        service = told(job, "api", r"served on (http://[^/]+)/")
        for _ in range(2):  # a first count shows no increase
            get(f"{service}/healthz")
            time.sleep(2)
        ending.enter_context(lagging(job, STALLED)).poll(0)
        with lagging(job, STOPPED):
            pass
        yield found


def start(job: MainJob, name: str) -> None:
    """Start the exporter, the connector or the HTTP service beside the workers."""
    command = [sys.executable, "-m", "agents.cli.main", name, *OTHERS[name]]
    with (job.directory / f"00-{name}.log").open("wb") as log:
        job.workers[name] = subprocess.Popen(command, cwd=ROOT, env=job.environment, stdout=log, stderr=log)


def page_of(job: MainJob, name: str) -> str:
    """Return where a process serves its metrics, as its log says."""
    return told(job, name, r"metrics on (http://[^\s\"]+)")


def told(job: MainJob, name: str, pattern: str) -> str:
    """Return what a process says in its log, once it does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        for path in job.directory.glob(f"*-{name}.log"):
            if said := re.search(pattern, path.read_text()):
                return said[1]
        assert time.monotonic() < deadline, f"{name} does not say {pattern}\n{job.logs()}"
        time.sleep(0.1)


@contextlib.contextmanager
def scraping(prometheus: str, directory: Path, pages: dict[str, str]) -> Iterator[str]:
    """Yield the address of a Prometheus with the rules as they are and the example's jobs, targets replaced."""
    config = yaml.safe_load(tools.CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(tools.ALERTS)]
    for scrape in config["scrape_configs"]:
        name = scrape["job_name"].removeprefix("attune-")
        names = [name] if name in OTHERS else [name for name in pages if name not in OTHERS]
        targets = [urllib.parse.urlsplit(pages[name]).netloc for name in names]
        scrape["static_configs"] = [{"targets": targets}]
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = [prometheus, f"--config.file={directory / 'prometheus.yaml'}", "--web.listen-address=127.0.0.1:0"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--storage.tsdb.path={directory / 'tsdb'}"], stdout=log, stderr=log, cwd=directory
        )
    try:
        yield f"http://127.0.0.1:{port_of(process, directory / 'prometheus.log')}"
    finally:
        process.terminate()
        process.wait(30)


def port_of(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """Return the port that a Prometheus has chosen, once it is ready."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for connection in psutil.Process(process.pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                with contextlib.suppress(AssertionError, OSError):
                    get(f"http://127.0.0.1:{connection.laddr.port}/-/ready")
                    return int(connection.laddr.port)
        time.sleep(0.1)
    raise AssertionError(f"Prometheus is not ready:\n{log.read_text()}")


async def traffic(job: MainJob) -> None:
    """Publish for a while, enough for a dozen dead letters."""
    async with job.publishing(pace=400):
        await job.at_work()
        while job.published.bad < 15 or job.published.good < 1_500:
            await asyncio.sleep(0.2)


@contextlib.contextmanager
def lagging(job: MainJob, group: str) -> Iterator[confluent_kafka.Consumer]:
    """Yield a member of a group that has joined, committed the first offsets, and reads no further."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": job.settings.kafka.bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([topics.INTERACTIONS])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not consumer.assignment():
            assert time.monotonic() < deadline, f"{group} is given no partitions"
            consumer.poll(0.2)
        first = [confluent_kafka.TopicPartition(tp.topic, tp.partition, 0) for tp in consumer.assignment()]
        consumer.commit(offsets=first, asynchronous=False)
        yield consumer
    finally:
        consumer.close()


def filled(expression: str) -> str:
    """Put in what Grafana would put in for its variables."""
    return expression.replace("$__rate_interval", "1m").replace("$group", ".*")


@pytest.mark.parametrize("title", tools.panels())
def test_a_panel_shows_something(watched: Watched, title: str) -> None:
    """Each of its queries is one that Prometheus answers, with figures unless there is a reason for none."""
    for target in tools.panels()[title]["targets"]:
        expression = filled(target["expr"])
        if title in MAY_BE_EMPTY:
            watched.query(expression)
        else:
            watched.until(lambda expression=expression: watched.query(expression), f"{title}: {expression} is empty")


def test_variables_and_annotations_are_answered(watched: Watched) -> None:
    """The dashboard's choice of groups lists those of the cluster; its annotations are a query."""
    wanted = {STALLED, STOPPED, "attune-fold", "attune-router"}

    def listed() -> bool:
        found = watched.ask("label/consumergroup/values", **{"match[]": "kafka_consumergroup_members"})
        return wanted <= set(found)

    watched.until(listed, "not every group can be chosen")
    for annotation in tools.dashboard()["annotations"]["list"]:
        watched.query(annotation["expr"])


@pytest.mark.parametrize("name", tools.alerts())
def test_an_alert_is_evaluated(watched: Watched, name: str) -> None:
    """Its expression is answered, and the rule is healthy in Prometheus itself."""
    watched.query(tools.alerts()[name]["expr"])
    rules = {rule["name"]: rule for group in watched.ask("rules")["groups"] for rule in group["rules"]}
    assert (rules[name]["health"], rules[name].get("lastError", "")) == ("ok", "")


def test_groups_that_lag_are_alerted(watched: Watched) -> None:
    """A member that stands still is STALL, a group that left is STOP; their alerts wait for their time, alone."""

    def groups(name: str) -> set[str]:
        return {row["metric"]["consumergroup"] for row in watched.query(tools.alerts()[name]["expr"])}

    watched.until(lambda: groups("AttuneGroupStalled") == {STALLED}, "only the slow group stalls")
    watched.until(lambda: groups("AttuneGroupStopped") == {STOPPED}, "only the group that left is stopped")

    def waiting() -> set[tuple[str, str]]:
        found = [alert for alert in watched.ask("alerts")["alerts"] if "consumergroup" in alert["labels"]]
        return {(alert["labels"]["alertname"], alert["labels"]["consumergroup"]) for alert in found}

    wanted = {("AttuneGroupStalled", STALLED), ("AttuneGroupStopped", STOPPED)}
    watched.until(lambda: wanted <= waiting(), "Prometheus' own evaluation has both alerts")


def test_an_alert_without_a_wait_fires(watched: Watched) -> None:
    """A dozen poison messages: the dead-letter alert is firing in Prometheus, with its page."""

    def firing() -> Rows:
        found = watched.ask("alerts")["alerts"]
        return [alert for alert in found if alert["labels"]["alertname"] == "AttuneDeadLetterRate"]

    (alert,) = watched.until(firing, "the dead letters raise no alert")
    assert alert["state"] == "firing"
    assert alert["labels"]["topic"] == topics.INTERACTIONS_DEAD
    assert (tools.DEPLOY.parent / alert["annotations"]["runbook"]).exists()


def test_figures_are_those_of_the_traffic(watched: Watched) -> None:
    """Workers count what was published; the exporter counts dead letters, decisions and what they led to."""
    published = watched.job.published
    everything = published.good + published.repeated + published.bad

    def total(expression: str) -> float:
        return sum(float(row["value"][1]) for row in watched.query(expression))

    def taken_in() -> bool:
        return total('attune_records_total{role="router"}') >= everything

    watched.until(taken_in, "the router has taken in everything that was published")
    watched.until(lambda: total("attune_dead_letters_retained") == published.bad, "every poison message is kept")
    assert total("attune_dead_letters_total") == published.bad
    watched.until(lambda: total('attune_decisions_total{kind="PROPOSED"}') > 0, "actions are counted")
    assert total('attune_suppressions_total{status="STARTED", reason="OPEN_DISPUTE"}') > 0
    assert total("attune_action_latency_seconds_count") > 0
    behind = total(f'kafka_consumergroup_lag_sum{{consumergroup="{STALLED}"}}')
    assert behind == total(f'kafka_topic_partition_current_offset{{topic="{topics.INTERACTIONS}"}}') >= everything


def test_every_metric_that_is_named_is_exported(watched: Watched) -> None:
    """No alert and no panel waits for a metric that no process has."""
    exported = {"up"}
    for page in watched.pages:
        exported |= set(re.findall(r"^# TYPE (\S+)", get(page), re.MULTILINE))
    missing = {
        name: where
        for where, expression in tools.expressions().items()
        for name in tools.names(expression)
        if tools.family(name) not in exported
    }
    assert missing == {}


def test_a_role_that_leaves_is_seen(watched: Watched) -> None:
    """The last router ends: its group has no members, its target is down, and both alerts say so."""
    asyncio.run(watched.job.leave("router"))

    def without_members() -> bool:
        rows = watched.query(tools.alerts()["AttuneNoMembers"]["expr"])
        return {row["metric"]["consumergroup"] for row in rows} == {"attune-router"}

    watched.until(without_members, "the router's group has no members")
    (down,) = watched.until(lambda: watched.query(tools.alerts()["AttuneProcessDown"]["expr"]), "a target is down")
    assert down["metric"]["job"] == "attune-worker"
