"""The entities that belong to a patient: by a relation to one row, or by a list in which the patient stands."""

from authz.audit.exported_decisions import bind_values
from authz.audit.questions.access import select_resources_of_patient
from authz.database import Database
from authz.models import Entity, EntityLink, EntityTarget
from authz.policy.compiler import read_schema
from tests.support.people import NOW

SCHEMA = read_schema('[plan]\npatient = "Patient"\npatients = ["Patient", "Practitioner"]\n')


def test_a_list_leads_to_a_patient(database: Database) -> None:
    """Each entity that leads to the patient is listed once; a practitioner of the same id is not the patient."""
    relations = {"both": ("p-1", "patient"), "listed": ("", "patient"), "namesake": ("", "practitioner")}
    for name, (link, kind) in relations.items():
        key = Entity.insert(type="plan", id=name, properties={}, started_at=NOW).execute(database)
        if link:
            EntityLink.insert(entity=key, property="patient", type="plan", target=link).execute(database)
        target = {"property": "patients", "type": "plan", "target_type": kind, "target": "p-1"}
        EntityTarget.insert(entity=key, **target).execute(database)
    style = r":\1" if database.dialect == "sqlite" else r"%(\1)s"
    statement = bind_values(select_resources_of_patient([SCHEMA]), {"patient": "p-1"}, style)
    rows = sorted(database.connection().execute(*statement).fetchall())
    assert [tuple(row) for row in rows] == [("patient", "p-1"), ("plan", "both"), ("plan", "listed")]
