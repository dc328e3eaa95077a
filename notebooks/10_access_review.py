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
# Somebody who neither gave nor holds a share decides on it: keep or revoke. Fill in `verdict` on each line of the
# sheet: in the workbook, where you choose it from a list, or in the CSV. Then send the file to the operator, who
# carries out all of it at once:
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
# Which shares of the clinic are live? This is the sheet to decide on. Standing shares come first: each opens all
# patients of its owner.

# %%
sheet = report.ask(ask.review_sheet, subscription=subscription, names=names, reason=reason)
assert sheet.frame.verdict.isna().all()
sheet

# %% [markdown]
# How far is the review?

# %%
reviewed = report.ask(ask.access_review, subscription=subscription, every_days=every_days)
for share in ("grant", "standing_share"):
    assert set(sheet.frame[share].dropna()) <= set(reviewed.frame[share])
reviewed

# %% [markdown]
# The same as a chart.

# %%
report.show(charts.states(reviewed, f"The shares of {subscription}, by the result of the review."))

# %% [markdown]
# Are duties separate? Nobody may give themselves a grant, review their own share, or audit and practise in one clinic.

# %%
duties = report.ask(ask.separation_of_duties)
duties

# %% [markdown]
# Who opened a patient in an emergency, why, and who reviewed it? There is none unless the clinic's policy permits it.

# %%
emergencies = report.ask(ask.emergency_accesses)
emergencies

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
