# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Subject access report
#
# What a patient is told who asks who consulted their record (GDPR 15): dates, purposes and roles. Employees are
# pseudonyms. Names only where they are indispensable to the patient's rights, weighed against the employee's (CJEU
# C-579/21): set `names = True` and say why in `reason`; both are recorded. The patient's own name, for the letter, is
# read and recorded as well.

# %% tags=["parameters"]
patient = "p-1"
since = ""  # the first day, such as "2026-01-01"; empty: as the question says
until = ""  # the day after the last one; empty: until `as_of`
names = False
reason = ""  # why the names are indispensable
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(
    audit,
    f"Who consulted the record of patient {patient}",
    patient=patient,
    since=since,
    until=until,
    names=names,
    reason=reason,
)
report

# %% [markdown]
# Every consultation.

# %%
consulted = report.ask(ask.subject_access, patient=patient, since=since, until=until, names=names, reason=reason)
assert names or consulted.frame.name.isna().all()
consulted

# %% [markdown]
# How often by whom.

# %%
counts = consulted.frame.who.value_counts()
report.show(charts.bars(list(counts.index), list(counts), "Consultations, by pseudonym.", "consultations"))

# %% [markdown]
# The letter to the patient. The clinic may change its words: `CAREGRANT_LETTERS`.

# %%
person = report.ask(ask.who_is, patient=patient, reason=reason or "the letter to the patient")
report.write("subject_access", person, consulted=consulted)

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
