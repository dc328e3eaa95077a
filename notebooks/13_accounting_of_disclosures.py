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
# To whom the patient was disclosed in six years, when, how often and for what purpose (45 CFR 164.528). What
# colleagues of the clinic see for treatment, payment and operations is left out by law; it is listed apart. What
# belongs into the accounting is known by the purpose that came with the question.

# %% tags=["parameters"]
patient = "p-1"
since = ""  # the first day, such as "2026-01-01"; empty: as the question says
until = ""  # the day after the last one; empty: until `as_of`
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.desk import Report, ask, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, f"Accounting of disclosures of patient {patient}", patient=patient, since=since, until=until)
report

# %% [markdown]
# All disclosures, summed up by recipient and purpose.

# %%
disclosed = report.ask(ask.disclosures, patient=patient, since=since, until=until)
assert disclosed.frame.accesses.sum() == disclosed.checked
disclosed

# %% [markdown]
# Those that the law wants in the accounting.

# %%
accountable = disclosed.frame[disclosed.frame.accountable]
assert not accountable.purpose.isin(["TREAT", "HPAYMT", "HOPERAT"]).any()
accountable

# %% [markdown] tags=["save"]
# The report, to print and to keep. Every file is recorded with its hash.

# %% tags=["save"]
report.save(output)
