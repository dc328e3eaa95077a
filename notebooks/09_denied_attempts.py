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
# # Denied attempts
#
# Who was denied, and how often? Does it look like trying, with many patients or many recipients on one day?

# %% tags=["parameters"]
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
until = ""  # the day after the last one; empty: until `as_of`
many = 20  # so many different patients or recipients on one day look like trying
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, "Denied attempts", since=since, until=until, many=many)
report

# %% [markdown]
# Who tried?

# %%
tried = report.ask(ask.denied_attempts, since=since, until=until, many=many)
assert tried.frame.denials.sum() <= tried.checked
tried

# %% [markdown]
# The same as a chart.

# %%
names, denials = list(tried.frame.resource), list(tried.frame.denials)
report.show(charts.bars(names, denials, "Denials by practitioner.", "denials", list(tried.frame.enumeration)))

# %% [markdown]
# Which patients did they try?

# %%
patients = report.ask(ask.denied_attempts, by="patient", since=since, until=until)
patients

# %% [markdown]
# For which reasons were they denied?

# %%
reasons = report.ask(ask.denied_attempts, by="reason", since=since, until=until)
assert reasons.frame.denials.sum() == tried.frame.denials.sum()
reasons

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
