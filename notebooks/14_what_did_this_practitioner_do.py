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
# What was asked for them, permitted or denied; what they changed; which patients they tried in vain; and whose names
# the lists and searches showed them.

# %% tags=["parameters"]
practitioner = "bob"
since = ""  # the first day, such as "2026-01-01"; empty: as the question says
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
# Everything, in order: what was asked for them, and what they changed.

# %%
did = report.ask(ask.what_did, practitioner=practitioner, since=since, until=until)
assert did.frame["at"].is_monotonic_increasing
did

# %% [markdown]
# How often what.

# %%
counts = did.frame.action.value_counts()
report.show(charts.bars(list(counts.index), list(counts), f"What {practitioner} asked and changed.", "times"))

# %% [markdown]
# Patients whom they tried and were denied. One without a clinic does not exist.

# %%
denied = report.ask(ask.denied_patients, practitioner=practitioner, since=since, until=until)
assert denied.frame.denials.sum() <= denied.checked
denied

# %% [markdown]
# Whose names a search or a list showed them. Where `certain` is *no*, it showed some of these.

# %%
shown = report.ask(ask.names_shown, practitioner=practitioner, since=since, until=until)
assert (shown.frame.patient.isna() != shown.frame.colleague.isna()).all()
shown

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
