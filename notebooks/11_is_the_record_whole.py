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
# # Is the record whole?
#
# Is the record complete, unaltered, and equal to the tables? Were the right people told? Would the policy of each
# decision decide the same again?

# %% tags=["parameters"]
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
until = ""  # the day after the last one; empty: until `as_of`
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, "Is the record whole", since=since, until=until)
report

# %% [markdown]
# Do the trees agree with their checkpoints, and did no clock go back?

# %%
whole = report.ask(ask.record_whole)
assert whole.frame.ok[0] == (report.header.verdict.word != "NOT VERIFIED"), "the header says the same"
whole

# %% [markdown]
# Which facts have no event, and which events have no fact?

# %%
differences = report.ask(ask.reconciliation)
differences

# %% [markdown]
# Who was not told of what they received or lost?

# %%
untold = report.ask(ask.notices_missing, since=since, until=until)
untold

# %% [markdown]
# Which policies decided, and who loaded them?

# %%
policies = report.ask(ask.policies_in_force, since=since, until=until)
policies

# %% [markdown]
# Which decisions would their own policy answer differently, asked about the same facts at the same instant? Decisions
# whose policy is not known any more are listed, too.

# %%
again = report.ask(ask.replayed_decisions, since=since, until=until)
assert (again.frame.allowed != again.frame.replayed_allowed).all()
again

# %% [markdown]
# Who read the audit?

# %%
reads = report.ask(ask.audit_reads)
reads

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
