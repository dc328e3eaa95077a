"""Everything that a notebook needs, by one import.

In a notebook an error of Caregrant is one line, without a traceback.
"""

from types import TracebackType
from typing import Any

from IPython.core.getipython import get_ipython

from authz.audit import questions as ask
from authz.audit.reports import charts
from authz.audit.reports.report import Report
from authz.audit.session import open_audit
from authz.errors import CaregrantError

__all__ = ["Report", "ask", "charts", "open_audit"]


def _show_briefly(
    shell: Any, kind: type[BaseException], error: BaseException, _trace: TracebackType, **_: object
) -> None:
    shell._showtraceback(kind, error, [f"{kind.__name__}: {error}"])


if (_shell := get_ipython()) is not None:
    _shell.set_custom_exc((CaregrantError,), _show_briefly)
