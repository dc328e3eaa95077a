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
# What each practitioner did on each day against their own other days and everybody's; bursts before leaving; who
# shares with whom.

# %% tags=["parameters"]
since = ""  # the first day, such as "2026-01-01"; empty: as the question says
until = ""  # the day after the last one; empty: until `as_of`
least = 10  # a day with fewer is never unusual
times = 3.0  # how far above both baselines
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
# Days that are far above what is usual come first. `leaves_in`: so many days later they left.

# %%
days = report.ask(ask.volume, since=since, until=until, least=least, times=times)
assert days.frame.unusual.sum() <= len(days)
days

# %% [markdown]
# The same, to look at.

# %%
report.show(charts.volume(days, "Each practitioner's days: shares, transfers, views and denials."))

# %% [markdown]
# Who shares both ways, in a circle, or is the hub of many.

# %%
patterns = report.ask(ask.sharing_patterns)
patterns

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
