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
# # What would this policy change?
#
# Who would gain and who would lose what, and by which rule, if another policy decided about the same grants?

# %% tags=["parameters"]
candidate = "today"  # a folder of policies, a version that served here, or "today": the policy that decides now
policy = ""  # what it is compared with: empty, the policy in force at `as_of`; or a version, or "today"
as_of = "now"  # an instant such as "2026-03-01" or "2026-03-01T14:00:00Z"
tz = "UTC"  # the time zone in which days begin and times are shown, such as "Europe/Helsinki"
database = ""  # empty: the database that the notebooks were opened on
output = "reports"  # the folder that the report is saved in; empty: none

# %%
from authz.audit.notebook import Report, ask, charts, open_audit

audit = open_audit(database, as_of=as_of, tz=tz)
report = Report(audit, "What would this policy change", candidate=candidate, policy=policy)
report

# %% [markdown]
# Which permits would be gained or lost? An action that is *unknown* depends on what an app sends with a question.

# %%
changes = report.ask(ask.policy_changes, candidate=candidate, policy=policy)
frame = changes.frame
assert set(frame.change) <= {"gained", "lost", "unknown"}
changes

# %% [markdown]
# How many permits does each rule give or take?

# %%
known = frame[frame.change != "unknown"]
rules = known.change + ", " + known.action + " " + known.resource_type + ", " + known.rule.fillna("no rule number")
report.show(charts.bars(list(rules.value_counts().index), list(rules.value_counts()), "Gained and lost.", "permits"))

# %% [markdown]
# Who is affected most?

# %%
people = (known.practitioner + ", " + known.change).value_counts().head(20)
report.show(charts.bars(list(people.index), list(people), "Whom the change affects most.", "permits"))

# %% [markdown] tags=["save"]
# Save the report. The record of the audit gets the hash of each file.

# %% tags=["save"]
report.save(output)
