"""What a question of the audit requires."""

from typing import Any

from authz.audit.catalog.question import Question


def needed(question: Question, patient: str = "p-1") -> dict[str, Any]:
    """Return arguments for the parameters that a question requires."""
    words = {"patient": patient, "practitioner": "bob", "subscription": "north", "reason": "case 7 before the court"}
    return {name: words[name] for name in [*question.required, *(["patient"] if question.name == "who_is" else [])]}
