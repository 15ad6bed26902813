# ruff: noqa: INP001 - a script of the image, in no package
"""Exit 0 while the process in this container serves its metrics, else 1; for HEALTHCHECK, with nothing but Python."""

import http.client
import os
import sys

_SECONDS = 4.0


def main() -> int:
    """Ask the page of metrics on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["ATTUNE_METRICS__PORT"]), timeout=_SECONDS)
    try:
        connection.request("GET", "/metrics")
        status = connection.getresponse().status
    except OSError as error:
        sys.stderr.write(f"no metrics: {error}\n")
        return 1
    finally:
        connection.close()
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
