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
# # Start here
#
# Who could see a patient, who did, by whose decision, and is the record whole? Each notebook after this one answers
# one such question.
# Change what is in the *parameters* cell at the top, then run everything (Run → Run All Cells). Nothing here can
# change the clinic: the database is opened read only. That you read it is recorded, as every reading is.
# People and patients are ids throughout. Every answer says how much was looked at to find it: *none found; 214 live
# shares checked* is an answer, too. An id that is not there is refused.

# %% tags=["parameters"]
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, open_audit

report = Report(open_audit(database, as_of=as_of, tz=tz), "What this database holds")
report

# %% [markdown]
# Is the record whole? The header above says it first, on every report. Below is each check.

# %%
whole = report.ask(ask.record_whole)
whole

# %% [markdown]
# Does what stands agree with what was recorded? Every grant, membership and licence rebuilt from the events alone.

# %%
agreement = report.ask(ask.reconciliation)
agreement

# %% [markdown]
# Which policies decided in the last year?

# %%
policies = report.ask(ask.policies_in_force)
policies

# %% [markdown]
# Who read the audit in the last 90 days? Your own questions are the first rows.

# %%
reads = report.ask(ask.audit_reads)
assert len(reads) >= 3, "this notebook's own questions are recorded"
reads

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
