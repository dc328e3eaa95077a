"""The auditor's desk: all that a notebook needs, by one import."""

from authz.audit import charts
from authz.audit import questions as ask
from authz.audit.reading import open_audit
from authz.audit.report import Report

__all__ = ["Report", "ask", "charts", "open_audit"]
