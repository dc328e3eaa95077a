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
# Who was denied, how often, and does it look like trying: many patients or many e-mails on one day?

# %% tags=["parameters"]
since = ""  # the first day, such as "2026-01-01"; empty: as the question says
until = ""  # the day after the last one; empty: until `as_of`
many = 20  # so many different ones on a day look like trying
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
# By who tried.

# %%
tried = report.ask(ask.denied_attempts, since=since, until=until, many=many)
assert tried.frame.denials.sum() <= tried.checked
tried

# %% [markdown]
# The same, to look at.

# %%
names, denials = list(tried.frame.resource), list(tried.frame.denials)
report.show(charts.bars(names, denials, "Denials by practitioner.", "denials", list(tried.frame.enumeration)))

# %% [markdown]
# By patient.

# %%
patients = report.ask(ask.denied_attempts, by="patient", since=since, until=until)
patients

# %% [markdown]
# By the reason that was given.

# %%
reasons = report.ask(ask.denied_attempts, by="reason", since=since, until=until)
assert reasons.frame.denials.sum() == tried.frame.denials.sum()
reasons

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
