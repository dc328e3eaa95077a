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
# # Accounting of disclosures
#
# To whom was the patient disclosed in six years, when, how often, and for what purpose (45 CFR 164.528)? The law leaves
# out treatment, payment, operations, and what the patient was shown. Only the purpose that the app sent tells these
# apart; without a purpose nobody can tell. Recipients have numbers. To see their names set `names = True` and write the
# reason into `reason`; both are recorded.

# %% tags=["parameters"]
patient = "p-1"
since = ""  # the first day, such as "2026-01-01"; empty: the usual period of each question
until = ""  # the day after the last one; empty: until `as_of`
names = False
reason = ""  # why the names of the recipients are needed
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
title = f"Accounting of disclosures of patient {patient}"
report = Report(audit, title, patient=patient, since=since, until=until, names=names, reason=reason)
report

# %% [markdown]
# Which disclosures belong into the accounting? They are summed up by recipient and purpose.

# %%
parameters = {"patient": patient, "since": since, "until": until, "names": names, "reason": reason}
accountable = report.ask(ask.accounting, **parameters)
assert accountable.frame.purpose.notna().all()
accountable

# %% [markdown]
# Which disclosures have no purpose? Nobody can tell whether they belong into the accounting.

# %%
unknown = report.ask(ask.accounting, kind="cannot tell", **parameters)
assert unknown.frame.purpose.isna().all()
unknown

# %% [markdown]
# What was the patient shown?

# %%
own = report.ask(ask.accounting, kind="to the patient", **parameters)
assert accountable.frame.accesses.sum() + unknown.frame.accesses.sum() + own.frame.accesses.sum() <= own.checked
own

# %% [markdown]
# The letter to the patient. The clinic may change its text: `CAREGRANT_LETTERS`.

# %%
person = report.ask(ask.who_is, patient=patient, reason=reason or "the letter to the patient")
report.write("accounting_of_disclosures", person, accountable=accountable, unknown=unknown, own=own)

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
