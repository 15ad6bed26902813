#!/bin/sh
# The topics of schemas/catalogue.yaml; made by `attune topics export`, not to be edited.
#
#   BOOTSTRAP=broker:9092 COMMAND_CONFIG=admin.properties sh topics.sh
#
# COMMAND_CONFIG are client properties; KAFKA_TOPICS is the tool, if it has another name than kafka-topics.sh.
# A topic that exists is left as it is; `attune topics apply` also puts configurations right.
set -eu
create() {
  "${KAFKA_TOPICS:-kafka-topics.sh}" --bootstrap-server "${BOOTSTRAP:?host:port of a broker}" \
    ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --create --if-not-exists --topic "$@"
}

create crm.interactions.v1 --partitions 6 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=delete \
  --config retention.ms=604800000 \
  --config min.insync.replicas=2

create crm.interactions.v1.dlq --partitions 1 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=delete \
  --config retention.ms=1209600000 \
  --config min.insync.replicas=2 \
  --config max.message.bytes=4194304

create crm.journal.v1 --partitions 6 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=delete \
  --config retention.ms=-1 \
  --config min.insync.replicas=2 \
  --config max.message.bytes=2097152

create crm.journal.v1.dlq --partitions 1 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=delete \
  --config retention.ms=1209600000 \
  --config min.insync.replicas=2 \
  --config max.message.bytes=4194304

create crm.next-best-actions.v1 --partitions 6 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=delete \
  --config retention.ms=604800000 \
  --config min.insync.replicas=2

create crm.suppressions.v1 --partitions 6 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=delete \
  --config retention.ms=2592000000 \
  --config min.insync.replicas=2

create crm.customer-state.v1 --partitions 6 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=compact \
  --config retention.ms=-1 \
  --config min.insync.replicas=2

create crm.policies.v1 --partitions 1 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=compact \
  --config retention.ms=-1 \
  --config min.insync.replicas=2

create crm.models.v1 --partitions 1 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=compact \
  --config retention.ms=-1 \
  --config min.insync.replicas=2

create crm.approvals.v1 --partitions 1 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=delete \
  --config retention.ms=-1 \
  --config min.insync.replicas=2

create crm.router-marks.v1 --partitions 6 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=compact \
  --config retention.ms=-1 \
  --config min.insync.replicas=2 \
  --config segment.bytes=1048576 \
  --config min.cleanable.dirty.ratio=0.2

create crm.fold-changelog.v1 --partitions 6 --replication-factor 3 \
  --config message.timestamp.type=LogAppendTime \
  --config unclean.leader.election.enable=false \
  --config cleanup.policy=compact \
  --config retention.ms=-1 \
  --config min.insync.replicas=2 \
  --config segment.bytes=67108864 \
  --config min.cleanable.dirty.ratio=0.2 \
  --config min.compaction.lag.ms=300000 \
  --config delete.retention.ms=604800000 \
  --config max.message.bytes=4194304
