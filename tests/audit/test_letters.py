"""Letters to a patient: their content, whose names they show, and a clinic's own templates."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from authz.audit import questions as ask
from authz.audit.reports.letters import LETTERS, Letter
from authz.audit.reports.report import Report
from authz.audit.session import Audit, open_audit
from authz.database import Database
from authz.errors import InvalidInput
from authz.importing.demo import fill
from authz.models import Patient
from authz.settings import shipped_folder
from tests.support.acting import POLICY
from tests.support.consultations import consult
from tests.support.people import NOW

WHY = "the patient asked for the accounting"


@pytest.fixture
def audit(sqlite_database: Database, sqlite_url: str) -> Iterator[Audit]:
    """Yield the demonstration clinic, where p-1 was consulted for every kind of purpose, and p-2 never."""
    fill(sqlite_database, POLICY.types, NOW)
    consult(sqlite_database, NOW)
    with closing(open_audit(sqlite_url, as_of=NOW, reader="compliance")) as opened:
        yield opened


def accounting(audit: Audit, patient: str = "p-1", *, names: bool = False) -> tuple[Report, Letter]:
    """Return the accounting of disclosures, as its notebook makes it."""
    report = Report(audit, "Accounting", patient=patient)
    kinds = {"accountable": "accountable", "unknown": "cannot tell", "own": "to the patient"}
    reason = WHY if names else ""
    answers = {
        name: report.ask(ask.accounting, patient=patient, kind=kind, names=names, reason=reason)
        for name, kind in kinds.items()
    }
    person = report.ask(ask.who_is, patient=patient, reason=WHY)
    return report, report.write("accounting_of_disclosures", person, **answers)


def text_of(letter: Letter) -> str:
    """Return the text of a letter as a reader sees it."""
    return " ".join(re.sub(r"<[^>]*>", " ", letter.body).split())


def test_the_accounting_of_disclosures(audit: Audit) -> None:
    """The letter lists accountable disclosures first, then doubtful ones and the patient's own; no treatment."""
    _, letter = accounting(audit, names=True)
    listed, unknown, own = re.split(r"<h2>[23]\.", letter.body.split("<h2>What is not")[0])
    for name in ("Alice Andersson", "Bob Brandt"):
        assert all(part.count(name) == times for part, times in ((listed, 2), (unknown, 1), (own, 1)))
    assert listed.count("public health") == listed.count("research") == 2
    assert "3 times, the last time on" in " ".join(listed.split())
    assert unknown.count("not recorded") == 2
    assert own.count("you asked for it") == 2
    text = text_of(letter)
    assert "Dear Ben Abel" in text
    assert "works at North Rehabilitation Clinic, with the app City Records" in text
    assert "from 31 May 2020 to 1 June 2026" in text
    assert not re.search(r"TREAT|PUBHLTH|HRESCH|PATRQT|HPAYMT|payment for your care|your treatment", letter.body)


def test_recipients_are_named_with_a_reason_alone(audit: Audit) -> None:
    """Without a reason recipients are numbers, with one number for a person in the whole letter."""
    _, letter = accounting(audit)
    assert not re.search("Alice|Bob", letter.body)
    assert letter.body.count("Recipient 1") == letter.body.count("Recipient 2") == 4
    with pytest.raises(InvalidInput, match="reason"):
        ask.accounting(audit, patient="p-1", names=True)


def test_a_patient_whom_nobody_consulted(audit: Audit) -> None:
    """The letter about a patient without consultations says so, and has no empty table."""
    _, letter = accounting(audit, "p-2")
    assert "There is nothing to list: we gave no information about you for a purpose that we must list." in text_of(
        letter
    )
    assert "<table" not in letter.body


def test_the_subject_access_letter(audit: Audit) -> None:
    """The letter has each consultation's day, role and purpose in words; employees are numbers without a reason."""
    report = Report(audit, "Who consulted", patient="p-1")
    consulted = report.ask(ask.subject_access, patient="p-1")
    person = report.ask(ask.who_is, patient="p-1", reason=WHY)
    letter = report.write("subject_access", person, consulted=consulted)
    assert letter.body.count("<tr>") == 1 + len(consulted) == 25
    text = text_of(letter)
    assert "Your record was opened 24 times. The people who work for us have a number" in text
    assert "Employee 1 works at the clinic your treatment" in text
    assert not re.search("Alice|Bob", text)
    named = report.ask(ask.subject_access, patient="p-1", names=True, reason=WHY)
    assert "Alice Andersson works at the clinic" in text_of(report.write("subject_access", person, consulted=named))


def test_the_statutory_table_is_what_is_saved(audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first CSV holds the accountable disclosures alone; the letter is a file of its own."""
    monkeypatch.setattr("authz.audit.reports.report.as_pdf", lambda _: None)
    report, letter = accounting(audit, names=True)
    files = {re.sub(r".*made_\w*?Z", "", path.name): path for path in report.save(tmp_path / "out").files}
    rows = list(csv.DictReader(io.StringIO(files["_1_accounting.csv"].read_text("utf-8-sig"))))
    assert {row["purpose"].rpartition("#")[2] for row in rows} == {"PUBHLTH", "HRESCH"}
    page = files["_letter.html"].read_text()
    assert letter.body in page
    assert "A4 portrait" in page
    assert 'content: "Patient p-1 (Ben Abel)' in page.replace("\\2d ", "-")
    assert report.subject == "Patient p-1 (Ben Abel)"


def test_a_clinic_changes_a_template(audit: Audit, tmp_path: Path) -> None:
    """A template in the clinic's folder replaces the shipped one; a fault in it is reported with its place."""
    fragments = (shipped_folder("letters") / "words.html").read_text()
    (tmp_path / "words.html").write_text(fragments.replace("public health", "the health of all"))
    here = replace(audit, letters=str(tmp_path))
    assert accounting(here)[1].body.count("the health of all") == 2
    for text, why in (
        ("x\n{% if %}", r"accounting_of_disclosures.html:2: Expected an expression"),
        ("{{ letter.nmae }}", "accounting_of_disclosures.html: .*nmae"),
        ("{{ letter.__class__.__mro__ }}", "accounting_of_disclosures.html: .*unsafe"),
        ("{% include 'nothing.html' %}", "nothing.html"),
    ):
        (tmp_path / "accounting_of_disclosures.html").write_text(text)
        with pytest.raises(InvalidInput, match=why):
            accounting(here)
    with pytest.raises(InvalidInput, match=r"CAREGRANT_LETTERS: .* is not a folder"):
        accounting(replace(audit, letters=str(tmp_path / "nowhere")))


def test_what_is_put_into_a_letter_is_escaped(audit: Audit, sqlite_database: Database) -> None:
    """A name that is HTML is text in the letter."""
    Patient.update(name="<script>x</script>").where(Patient.id == "p-1").execute(sqlite_database)
    body = accounting(audit)[1].body
    assert "<script" not in body
    assert "Dear &lt;script&gt;" in body


def test_every_letter_is_shipped() -> None:
    """Each letter has its template."""
    assert {path.stem for path in shipped_folder("letters").glob("*.html")} == {*LETTERS, "words"}
