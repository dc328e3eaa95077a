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
# Who owned the patient from when until when, who handed them on; and which patients are handed on again and again, or
# come back.

# %% tags=["parameters"]
patient = "p-4"
since = ""  # the first day, such as "2026-01-01"; empty: as the question says
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
# The owners of this patient, in order.

# %%
owned = report.ask(ask.ownership, patient=patient)
assert owned.frame.since.is_monotonic_increasing
owned

# %% [markdown]
# The same, to look at.

# %%
report.show(charts.spans(owned, f"Who owned {patient}."))

# %% [markdown]
# Patients that were handed on at least twice, of those with a transfer in these days.

# %%
chains = report.ask(ask.transfer_chains, since=since, until=until)
chains

# %% [markdown]
# Who saw a patient after handing them over, without having been given them again? There must be nobody.

# %%
former = report.ask(ask.former_owner_access, since=since, until=until)
former

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
