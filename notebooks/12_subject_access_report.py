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
# Who consulted the record of a patient? The patient may know the dates, purposes and roles (GDPR 15). Employees have
# pseudonyms. Names are shown only if they are indispensable for the patient's rights, weighed against those of the
# employees (CJEU C-579/21): set `names = True` and write the reason into `reason`; both are recorded. The letter needs
# the patient's own name; reading it is recorded, too.

# %% tags=["parameters"]
patient = "p-1"
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
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
# When was the record consulted, by whom, and why?

# %%
consulted = report.ask(ask.subject_access, patient=patient, since=since, until=until, names=names, reason=reason)
assert names or consulted.frame.name.isna().all()
consulted

# %% [markdown]
# How often did each employee consult it?

# %%
counts = consulted.frame.who.value_counts()
report.show(charts.bars(list(counts.index), list(counts), "Consultations, by pseudonym.", "consultations"))

# %% [markdown]
# The letter to the patient. The clinic may change its text: `CAREGRANT_LETTERS`.

# %%
person = report.ask(ask.who_is, patient=patient, reason=reason or "the letter to the patient")
report.write("subject_access", person, consulted=consulted)

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
