"""One place that builds every client of Kafka and Redis, so that security and time-outs have one home."""
