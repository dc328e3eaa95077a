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
# # What did this practitioner do?
#
# What did apps ask for them, permitted or denied? What did they change? Which patients were they denied?
# Whose names did lists and searches show them?

# %% tags=["parameters"]
practitioner = "bob"
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
until = ""  # the day after the last one; empty: until `as_of`
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
title = f"What practitioner {practitioner} did"
report = Report(audit, title, practitioner=practitioner, since=since, until=until)
report

# %% [markdown]
# What did they do, in order?

# %%
did = report.ask(ask.what_did, practitioner=practitioner, since=since, until=until)
assert did.frame["at"].is_monotonic_increasing
did

# %% [markdown]
# How often did they do each of these?

# %%
counts = did.frame.action.value_counts()
report.show(charts.bars(list(counts.index), list(counts), f"What {practitioner} asked and changed.", "times"))

# %% [markdown]
# Which patients were they denied? A patient without a clinic does not exist.

# %%
denied = report.ask(ask.denied_patients, practitioner=practitioner, since=since, until=until)
assert denied.frame.denials.sum() <= denied.checked
denied

# %% [markdown]
# Whose names did a search or a list show them? If `certain` is *no*, it showed only some of these.

# %%
shown = report.ask(ask.names_shown, practitioner=practitioner, since=since, until=until)
assert (shown.frame.patient.isna() != shown.frame.colleague.isna()).all()
shown

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
