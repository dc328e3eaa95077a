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
# # What could this practitioner reach?
#
# Which patients could a practitioner see at one instant, and how: as the owner, by a share, or by a standing share?

# %% tags=["parameters"]
practitioner = "alice"
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, f"What practitioner {practitioner} could reach", practitioner=practitioner)
report

# %% [markdown]
# Which patients, and through which grant or standing share?

# %%
reach = report.ask(ask.what_could_reach, practitioner=practitioner)
assert reach.frame.patient.is_unique
reach

# %% [markdown]
# How many patients did they reach in each way?

# %%
how = reach.frame.how.value_counts()
report.show(charts.bars(list(how.index), list(how), f"How {practitioner} reaches patients.", "patients"))

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
