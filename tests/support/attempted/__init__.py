"""Attempts of one part of admission each: a module gives ``ROWS`` and makes its attempts with ``attempts()`` once the rows are known."""

import importlib
import pkgutil

from tests.support.attempts import ATTEMPTS, PARENTS, ROWS

for _module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
    _part = importlib.import_module(f"{__name__}.{_module.name}")
    ROWS.update(_part.ROWS)
    PARENTS.update(getattr(_part, "PARENTS", {}))
    ATTEMPTS.update(_part.attempts())
