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
# # Shares past their purpose
#
# Which shares have been open for long, are not used, or have lost their patient? Which were given by or to the wrong
# person? What does each standing share open?

# %% tags=["parameters"]
open_days = 365
unused_days = 180
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
until = ""  # the day after the last one; empty: until `as_of`
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(
    audit, "Shares past their purpose", open_days=open_days, unused_days=unused_days, since=since, until=until
)
report

# %% [markdown]
# Which live shares have outlived their purpose?

# %%
stale = report.ask(ask.stale_shares, open_days=open_days, unused_days=unused_days)
assert len(stale) <= stale.checked
stale

# %% [markdown]
# The shares that have been open longest, as a chart.

# %%
worst = stale.frame.nlargest(15, "open_days")
names = [f"{row.patient} → {row.practitioner}" for row in worst.itertuples()]
report.show(charts.bars(names, list(worst.open_days), "How long the stale shares have been open.", "days"))

# %% [markdown]
# Which shares were given by somebody who did not own the patient? There must be none.

# %%
not_theirs = report.ask(ask.given_by_others, since=since, until=until)
not_theirs

# %% [markdown]
# Which shares went to somebody who did not work at the clinic then? There must be none.

# %%
outside = report.ask(ask.given_to_others, since=since, until=until)
outside

# %% [markdown]
# How many patients does each standing share open, and was it used?

# %%
standing = report.ask(ask.standing_shares)
standing

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
