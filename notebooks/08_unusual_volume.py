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
# # Unusual volume
#
# On which days did somebody do far more than usual, compared with their own other days and with the days of others?
# Did somebody share a lot before they left? Who shares with whom?

# %% tags=["parameters"]
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
until = ""  # the day after the last one; empty: until `as_of`
least = 10  # a day with fewer is never unusual
times = 3.0  # how many times both baselines
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, "Unusual volume", since=since, until=until, least=least, times=times)
report

# %% [markdown]
# How much did each practitioner do on each day? Unusual days come first. `leaves_in` is how many days later the
# practitioner left.

# %%
days = report.ask(ask.volume, since=since, until=until, least=least, times=times)
assert (days.frame.volume[days.frame.unusual] >= least).all()
days

# %% [markdown]
# The same as a chart.

# %%
report.show(charts.volume(days, "Each practitioner's days: shares, transfers, views and denials."))

# %% [markdown]
# Who shares with each other, in a circle of three, or with one person as the hub?

# %%
patterns = report.ask(ask.sharing_patterns)
patterns

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
