"""A real Kafka and a real Valkey on loopback, from packages: no Docker, no system Java."""
