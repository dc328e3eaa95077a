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
# # Leavers and lapses
#
# What was permitted to somebody who did not work there any more? Which patients have an owner who has left?

# %% tags=["parameters"]
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
until = ""  # the day after the last one; empty: until `as_of`
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, "Leavers and lapses", since=since, until=until)
report

# %% [markdown]
# What was permitted after a membership or a subscription had ended? There must be nothing. `lag` is how many seconds
# after the end.

# %%
after = report.ask(ask.allowed_after_leaving, since=since, until=until)
after

# %% [markdown]
# Which patients have no owner who works there, and which standing shares are of leavers? A manager transfers such
# patients.

# %%
orphans = report.ask(ask.orphans)
assert not orphans.frame.duplicated(["patient", "why", "grant", "standing_share"]).any(), "each fault once"
orphans

# %% [markdown]
# How many patients does each of these owners have?

# %%
by_owner = orphans.frame.groupby("owner").size().sort_values(ascending=False)
report.show(charts.bars(list(by_owner.index), list(by_owner), "Patients whose owner has left, by owner.", "patients"))

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
