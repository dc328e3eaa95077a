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
# # What changed?
#
# Who gained or lost access in a clinic between two dates or between two reviews, by whom, and why?

# %% tags=["parameters"]
subscription = "north"
since = ""  # the first day, such as "2026-01-01"; empty: 90 days before
until = ""  # the day after the last one; empty: until `as_of`
since_review = ""  # instead of the first day: the name of a review, such as "2026-spring"
until_review = ""  # instead of the last day: the name of a review
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
parameters = {"subscription": subscription, "since": since, "until": until}
parameters |= {"since_review": since_review, "until_review": until_review}
report = Report(audit, f"What changed in {subscription}", **parameters)
report

# %% [markdown]
# What was gained or lost, in order?

# %%
changed = report.ask(ask.what_changed, **parameters)
assert changed.frame["at"].is_monotonic_increasing
changed

# %% [markdown]
# How often was what gained or lost?

# %%
kinds = (changed.frame.how + ", " + changed.frame.change).value_counts()
report.show(charts.bars(list(kinds.index), list(kinds), f"What was gained and lost in {subscription}.", "times"))

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
