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
# # Who could see this patient?
#
# The policy itself answers, for one instant, as it would have answered an app then.

# %% tags=["parameters"]
patient = "p-1"
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, f"Who could see patient {patient}", patient=patient)
report

# %% [markdown]
# Who could see the patient at `as_of`, by which rule, and through which grant?

# %%
could = report.ask(ask.who_could, patient=patient)
assert could.frame.practitioner.is_unique
could

# %% [markdown]
# What was ever given on this patient: who held it, when, and who ended it?

# %%
grants = report.ask(ask.access_over_time, patient=patient)
holders = set(grants.frame.practitioner)
assert set(could.frame.practitioner[could.frame.how != "other"]) <= holders, "nobody sees without a share"
grants

# %% [markdown]
# The same as a chart.

# %%
report.show(charts.spans(grants, f"Who held access to {patient}, from when until when."))

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
