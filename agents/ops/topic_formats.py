"""The catalogue for other tools: commands for kafka-topics.sh, Strimzi's KafkaTopic manifests, plain values.

They create the same topics as `attune topics apply`; what exists they leave as it is, which `attune topics plan` shows.
"""

import shlex
from typing import Any, Final

import yaml

from schemas.catalogue import Catalogue, Topic

_HEAD: Final = """\
#!/bin/sh
# The topics of schemas/catalogue.yaml; made by `attune topics export`, not to be edited.
#
#   BOOTSTRAP=broker:9092 COMMAND_CONFIG=admin.properties sh topics.sh
#
# COMMAND_CONFIG are client properties; KAFKA_TOPICS is the tool, if it has another name than kafka-topics.sh.
# A topic that exists is left as it is; `attune topics apply` also puts configurations right.
set -eu
create() {
  "${KAFKA_TOPICS:-kafka-topics.sh}" --bootstrap-server "${BOOTSTRAP:?host:port of a broker}" \\
    ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --create --if-not-exists --topic "$@"
}
"""


def commands(catalogue: Catalogue, replication: int | None = None) -> str:
    """Return a POSIX shell script that creates the topics by kafka-topics.sh; `replication` overrides that of each."""
    lines = [_HEAD]
    for topic in catalogue.topics.values():
        words = [f"create {shlex.quote(topic.name)} --partitions {topic.partitions}"]
        words[0] += f" --replication-factor {_copies(topic, replication)}"
        words += [
            f"--config {shlex.quote(f'{name}={value}')}"
            for name, value in catalogue.settings(topic, replication).items()
        ]
        lines.append("\n" + " \\\n  ".join(words) + "\n")
    return "".join(lines)


def manifests(catalogue: Catalogue, replication: int | None = None, *, cluster: str) -> str:
    """Return Strimzi's KafkaTopic manifests (API v1: Strimzi 0.49 or newer) for a Kafka cluster of that name."""
    documents = [
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaTopic",
            "metadata": {"name": topic.name, "labels": {"strimzi.io/cluster": cluster}},
            "spec": {
                "topicName": topic.name,
                "partitions": topic.partitions,
                "replicas": _copies(topic, replication),
                "config": catalogue.settings(topic, replication),
            },
        }
        for topic in catalogue.topics.values()
    ]
    head = (
        "# The topics of schemas/catalogue.yaml; made by `attune topics export --format strimzi`, not to be edited.\n"
    )
    return head + yaml.safe_dump_all(documents, sort_keys=False, width=120)


def plain(catalogue: Catalogue, replication: int | None = None) -> list[dict[str, Any]]:
    """Return one mapping for each topic, for scripts: name, partitions, replication, config."""
    return [
        {
            "name": topic.name,
            "partitions": topic.partitions,
            "replication": _copies(topic, replication),
            "config": catalogue.settings(topic, replication),
        }
        for topic in catalogue.topics.values()
    ]


def _copies(topic: Topic, replication: int | None) -> int:
    return topic.replication if replication is None else replication
