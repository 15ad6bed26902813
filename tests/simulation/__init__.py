"""A world in one thread: processes, brokers, a group and a clock, all drawn from one seed.

`loop.py` is the clock and the processes, `cluster.py` the brokers, `group.py` who owns what, `worker.py` a process that
runs the real engine, `weather.py` what goes wrong in a seed, `world.py` a whole run and `judge.py` its verdict.
`python -m tests.simulation --help` runs many seeds, or one of them with its trace.
"""
