"""A batch engine for faust-streaming: state as a pure function of one log partition, written exactly once.

The engine imports nothing of Attune; a Faust user can take this folder away.  A user declares a
`Job` (source topic, changelog, pure step) and gets a `faust.App` from `agents.engine.app.create_app`.
Read in this order: `job` (what a user declares), `fold` (records -> outputs and changes, no I/O),
`partition` (order of sends), `changelog` (fences: `Restored.scan` compares them), `restore` (who owns a
partition), `worker` and `transport` (Faust).
"""
