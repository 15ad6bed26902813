"""The contract: topics, Avro schemas, codec and typed records. Imports nothing of ours."""
