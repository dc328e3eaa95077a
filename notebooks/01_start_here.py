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
# Who could see a patient? Who did, and by whose decision? Is the record whole? Each of the other notebooks answers one
# such question.
# Change the values in the *parameters* cell at the top, then run everything (Run → Run All Cells). Nothing here can
# change the clinic: the notebooks only read the database. Each reading is recorded, yours too.
# People and patients appear as ids. Every answer says how many things were checked: *none found; 214 live shares
# checked* is an answer, too. An id that does not exist is refused.

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
# Is the record whole? The header of every report gives the verdict. Here is each check.

# %%
whole = report.ask(ask.record_whole)
whole

# %% [markdown]
# Do the tables agree with the record? Every grant, membership and licence is rebuilt from the events alone, and
# compared.

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
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
