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
# To whom the patient was disclosed in six years, when, how often and for what purpose (45 CFR 164.528). Treatment,
# payment and operations are left out by law, and what the patient themself was shown. Which of these it was is known
# by the purpose that came with the question; without one nobody can tell. Recipients are numbers: set `names = True`
# and say why in `reason` to name them; both are recorded.

# %% tags=["parameters"]
patient = "p-1"
since = ""  # the first day, such as "2026-01-01"; empty: as the question says
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
# The accounting: the disclosures that the law wants in it, summed up by recipient and purpose.

# %%
asked = {"patient": patient, "since": since, "until": until, "names": names, "reason": reason}
accountable = report.ask(ask.accounting, **asked)
assert accountable.frame.purpose.notna().all()
accountable

# %% [markdown]
# Disclosures without a purpose: nobody can tell whether they belong into the accounting.

# %%
unknown = report.ask(ask.accounting, kind="cannot tell", **asked)
assert unknown.frame.purpose.isna().all()
unknown

# %% [markdown]
# What the patient themself was shown, or asked for.

# %%
own = report.ask(ask.accounting, kind="to the patient", **asked)
assert accountable.frame.accesses.sum() + unknown.frame.accesses.sum() + own.frame.accesses.sum() <= own.checked
own

# %% [markdown]
# The letter to the patient. The clinic may change its words: `CAREGRANT_LETTERS`.

# %%
person = report.ask(ask.who_is, patient=patient, reason=reason or "the letter to the patient")
report.write("accounting_of_disclosures", person, accountable=accountable, unknown=unknown, own=own)

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
