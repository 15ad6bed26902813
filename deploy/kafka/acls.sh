#!/bin/sh
# The rights of each role on the cluster, least privilege; made by `attune acls`, not to be edited.
#
#   BOOTSTRAP=broker:9092 COMMAND_CONFIG=admin.properties sh acls.sh
#
# COMMAND_CONFIG are the client properties of somebody who may change ACLs; KAFKA_ACLS is the tool, if it has another
# name than kafka-acls.sh. Adding a right that is there changes nothing.
set -eu
allow() {
  "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "${BOOTSTRAP:?host:port of a broker}" \
    ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --add --allow-principal "$@"
}

# channels: publish what customers did
allow User:attune-channels \
  --operation Write \
  --topic crm.interactions.v1

# router: one customer, one partition; seals personal data; stamps origin and schema
allow User:attune-router \
  --operation Read \
  --group attune-router
allow User:attune-router \
  --operation Read \
  --topic crm.interactions.v1 \
  --topic crm.approvals.v1
allow User:attune-router \
  --operation Read \
  --operation Write \
  --topic crm.router-marks.v1
allow User:attune-router \
  --operation Write \
  --topic crm.journal.v1 \
  --topic crm.interactions.v1.dlq

# marketing: publishes policies and models, approves them
allow User:attune-marketing \
  --operation Read \
  --operation Write \
  --topic crm.policies.v1 \
  --topic crm.models.v1 \
  --topic crm.approvals.v1

# coordinator: ticks of the clock, activations of approved documents
allow User:attune-coordinator \
  --operation Read \
  --group attune-coordinator
allow User:attune-coordinator \
  --operation Read \
  --topic crm.approvals.v1 \
  --topic crm.policies.v1 \
  --topic crm.models.v1
allow User:attune-coordinator \
  --operation Write \
  --topic crm.journal.v1

# fold: state, churn risk, suppressions, decisions: a pure function of one journal partition
allow User:attune-fold \
  --operation Read \
  --group attune-fold
allow User:attune-fold \
  --operation Read \
  --topic crm.journal.v1 \
  --topic crm.policies.v1 \
  --topic crm.models.v1
allow User:attune-fold \
  --operation Read \
  --operation Write \
  --topic crm.fold-changelog.v1
allow User:attune-fold \
  --operation Write \
  --topic crm.next-best-actions.v1 \
  --topic crm.suppressions.v1 \
  --topic crm.journal.v1.dlq

# views: state, current actions, suppressions by customer, in Redis; states in a topic
allow User:attune-views \
  --operation Read \
  --group attune-views
allow User:attune-views \
  --operation Describe \
  --topic crm.journal.v1
allow User:attune-views \
  --operation Read \
  --topic crm.fold-changelog.v1 \
  --topic crm.next-best-actions.v1 \
  --topic crm.suppressions.v1 \
  --topic crm.models.v1 \
  --topic crm.policies.v1
allow User:attune-views \
  --operation Read \
  --operation Write \
  --topic crm.customer-state.v1
allow User:attune-views \
  --operation Write \
  --resource-pattern-type prefixed \
  --transactional-id attune-views-

# analysts: join the newest state of each customer with data of their own
allow User:attune-analysts \
  --operation Read \
  --resource-pattern-type prefixed \
  --group analysts-
allow User:attune-analysts \
  --operation Read \
  --topic crm.customer-state.v1

# operations: look at dead letters, put right what was wrong, return them
allow User:attune-operations \
  --operation Read \
  --topic crm.interactions.v1.dlq \
  --topic crm.journal.v1.dlq \
  --topic crm.journal.v1
allow User:attune-operations \
  --operation Read \
  --operation Write \
  --topic crm.interactions.v1

# connectors: check again, deliver, report what happened as interactions
allow User:attune-connectors \
  --operation Read \
  --group demo-connector
allow User:attune-connectors \
  --operation Read \
  --resource-pattern-type prefixed \
  --group connectors-
allow User:attune-connectors \
  --operation Read \
  --topic crm.next-best-actions.v1 \
  --topic crm.suppressions.v1
allow User:attune-connectors \
  --operation Write \
  --topic crm.interactions.v1

# api: `attune api`: reads Redis alone and has no user
# needs no right

# exporter: `attune exporter` and `attune lag`: any group, as far as it reads topics of the catalogue
allow User:attune-exporter \
  --operation Describe \
  --group '*'
allow User:attune-exporter \
  --operation Read \
  --topic crm.interactions.v1 \
  --topic crm.journal.v1 \
  --topic crm.next-best-actions.v1 \
  --topic crm.suppressions.v1 \
  --topic crm.customer-state.v1 \
  --topic crm.policies.v1 \
  --topic crm.models.v1 \
  --topic crm.approvals.v1 \
  --topic crm.router-marks.v1 \
  --topic crm.fold-changelog.v1
allow User:attune-exporter \
  --operation Read \
  --operation DescribeConfigs \
  --topic crm.interactions.v1.dlq \
  --topic crm.journal.v1.dlq

# auditors: `attune prove`, `replay`, `as-of`, `customer show`: read everything, write nothing
allow User:attune-auditors \
  --operation Describe \
  --group attune-router \
  --group attune-fold
allow User:attune-auditors \
  --operation Read \
  --topic crm.interactions.v1 \
  --topic crm.interactions.v1.dlq \
  --topic crm.journal.v1 \
  --topic crm.journal.v1.dlq \
  --topic crm.next-best-actions.v1 \
  --topic crm.suppressions.v1 \
  --topic crm.customer-state.v1 \
  --topic crm.policies.v1 \
  --topic crm.models.v1 \
  --topic crm.approvals.v1 \
  --topic crm.router-marks.v1 \
  --topic crm.fold-changelog.v1

# deployer: `attune topics plan | apply | check`: makes topics and their configuration, reads no record
allow User:attune-deployer \
  --operation Create \
  --operation Describe \
  --operation DescribeConfigs \
  --operation AlterConfigs \
  --topic crm.interactions.v1 \
  --topic crm.interactions.v1.dlq \
  --topic crm.journal.v1 \
  --topic crm.journal.v1.dlq \
  --topic crm.next-best-actions.v1 \
  --topic crm.suppressions.v1 \
  --topic crm.customer-state.v1 \
  --topic crm.policies.v1 \
  --topic crm.models.v1 \
  --topic crm.approvals.v1 \
  --topic crm.router-marks.v1 \
  --topic crm.fold-changelog.v1
