"""Arguments for the questions of the audit."""

from typing import Any

from authz.audit.catalog.question import AuditQuestion


def required_arguments(question: AuditQuestion, patient: str = "p-1") -> dict[str, Any]:
    """Return values for the parameters without which a question cannot be asked."""
    values = {"patient": patient, "practitioner": "bob", "subscription": "north", "reason": "case 7 before the court"}
    return {name: values[name] for name in [*question.required, *(["patient"] if question.name == "who_is" else [])]}
