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
# # Access review
#
# Somebody other than who gave or holds a share decides on it: keep or revoke. Fill in `verdict` on each line of the
# sheet (in the workbook, where it is a list to choose from, or in the CSV), and hand the file to the operator, who
# carries it out all at once:
#
# `caregrant audit review SHEET.xlsx --reviewer ID --campaign NAME --due DATE`

# %% tags=["parameters"]
subscription = "north"
names = False  # show the names of patients and practitioners
reason = ""  # why the reviewer needs the names; it is recorded
every_days = 365  # a share is due for review again after so many days
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, f"Access review of {subscription}", subscription=subscription, every_days=every_days)
report

# %% [markdown]
# The sheet to decide on: every live share of the clinic. Standing shares first: each opens all that its owner has.

# %%
sheet = report.ask(ask.review_sheet, subscription=subscription, names=names, reason=reason)
assert sheet.frame.verdict.isna().all()
sheet

# %% [markdown]
# How far the review is.

# %%
reviewed = report.ask(ask.access_review, subscription=subscription, every_days=every_days)
for share in ("grant", "standing_share"):
    assert set(sheet.frame[share].dropna()) <= set(reviewed.frame[share])
reviewed

# %% [markdown]
# The same, to look at.

# %%
report.show(charts.states(reviewed, f"The shares of {subscription}, by what the review came to."))

# %% [markdown]
# Separation of duties: a grant to oneself, a review of one's own share, somebody who audits and practises.

# %%
duties = report.ask(ask.separation_of_duties)
duties

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
