"""Why something does not work: each check looks at one thing, changes nothing, and says how to mend what it found.

`examine` in `examination` runs them all; a check returns its findings (`finding`).  `address` and `tls` say what keeps
a client from one broker, `brokers` asks every broker of the cluster, `rights`, `clock`, `topics` the cluster, and
`redis`, `registry`, `machine` the rest.
"""
