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
# At one instant, by the policy itself: the same question that an app would have asked then.

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
# Everybody who could see the patient at `as_of`, by which rule, through which grant.

# %%
could = report.ask(ask.who_could, patient=patient)
assert could.frame.practitioner.is_unique
could

# %% [markdown]
# What was ever given on this patient: who held it, when, and who ended it.

# %%
given = report.ask(ask.access_over_time, patient=patient)
held = set(given.frame.practitioner)
assert set(could.frame.practitioner[could.frame.how != "other"]) <= held, "nobody sees without having been given it"
given

# %% [markdown]
# The same, to look at.

# %%
report.show(charts.spans(given, f"Who held access to {patient}, from when until when."))

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
