# Emergency access, which is off unless a policy folder has this file. docs/howto/emergency-access.md says how.

# R13. A member here may open a patient in an emergency (`break_glass`), for some hours, with a purpose and a reason.
# (The operation gives them a viewer's grant, which ends by itself, and refuses whoever has access already.)
has_permission(practitioner: Practitioner, "break_glass", patient: Patient) if
    member_here(practitioner, patient);
