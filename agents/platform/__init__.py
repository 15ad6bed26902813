"""A real Kafka, a real Valkey and a schema registry on loopback, from packages: no Docker, no system Java."""
