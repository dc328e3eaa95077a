# The fixture of the AuthZEN search interop (docs/reference/authzen.md, 15).

# View: the owner, or the same department, or a manager.
allow(user: User, "view", record: Record) if record.owner = user;
allow(user: User, "view", record: Record) if record.department = user.department;
allow(user: User, "view", _record: Record) if user.role = "manager";

# Edit: the owner, or a manager of the same department.
allow(user: User, "edit", record: Record) if record.owner = user;
allow(user: User, "edit", record: Record) if user.role = "manager" and record.department = user.department;

# Delete: the owner.
allow(user: User, "delete", record: Record) if record.owner = user;
