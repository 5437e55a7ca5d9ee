"""Taximeter: the fare meter for generative AI.

A folder imports only folders below it; folders joined by ``|`` do not know each other.
import-linter enforces the picture, and ``tests/unit/test_tidy.py`` asserts that both agree.

    cli
    app | worker
    gateway | console
    billing | calibration
    metering
    admission
    ledger | pricing | meters | engines | identity
    transparency | jobs
    db
    kernel
"""

__version__ = "0.1.0"
