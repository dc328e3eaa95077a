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
# # Transfers and chains
#
# Who owned the patient, from when until when, and who transferred them? Which patients are transferred again and again,
# or come back to an earlier owner?

# %% tags=["parameters"]
patient = "p-4"
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
until = ""  # the day after the last one; empty: until `as_of`
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, f"Transfers of patient {patient}, and chains", patient=patient, since=since, until=until)
report

# %% [markdown]
# Who owned this patient, in order?

# %%
owned = report.ask(ask.ownership, patient=patient)
assert owned.frame.since.is_monotonic_increasing
owned

# %% [markdown]
# The same as a chart.

# %%
report.show(charts.spans(owned, f"Who owned {patient}."))

# %% [markdown]
# Which patients with a transfer in this period were transferred at least twice?

# %%
chains = report.ask(ask.transfer_chains, since=since, until=until)
chains

# %% [markdown]
# Who saw a patient after transferring them, without a new grant? There must be nobody.

# %%
former = report.ask(ask.former_owner_access, since=since, until=until)
former

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
