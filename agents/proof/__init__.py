"""The oracle: whether the topics hold what a sequential fold of the same log says they must.

It shares no code with what it judges except the pure step, which is handed in.  Read in this order:
`subject` (what is handed in), `sequential` (the reference fold), `oracle` (the order of reading),
`origins` (with `growth`: where customers are), `states`, `outputs` (one claim each), `report`.
"""
