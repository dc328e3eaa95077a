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
# # Who did?
#
# Who asked to do what with this patient or their documents, through which app, for what purpose, and by which grant?
# The answer has permits and denials. A list or a search is recorded with its size, not with each patient in it.

# %% tags=["parameters"]
patient = "p-1"
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
until = ""  # the day after the last one; empty: until `as_of`
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, f"Who asked about patient {patient}", patient=patient, since=since, until=until)
report

# %% [markdown]
# Which decisions were made about the patient?

# %%
did = report.ask(ask.who_did, patient=patient, since=since, until=until)
assert did.frame["at"].is_monotonic_increasing
did

# %% [markdown]
# The same as a chart.

# %%
report.show(charts.moments(did, f"What was asked about {patient}, by whom and when."))

# %% [markdown]
# How often did each practitioner ask, and was it permitted or denied?

# %%
counted = did.frame.groupby(["practitioner", "action", "allowed"], dropna=False).size().rename("times").reset_index()
assert counted.times.sum() == len(did)
counted

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
