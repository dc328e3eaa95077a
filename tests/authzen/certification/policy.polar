# The fixture of the AuthZEN certification scenario (docs/reference/authzen.md, 14).

# Its owner reads a record, and so does whom it names.
allow(user: User, "read", record: Record) if record.owner = user;
allow(user: User, "read", record: Record) if user.id in record.readers;

# Its owner writes it while it is active; an archived one is for administrators.
allow(user: User, "write", record: Record) if record.owner = user and record.status = "active";
allow(user: User, "write", record: Record) if user.role = "admin" and record.status = "archived";

# Its owner deletes it, so that it can be brought back.
allow(user: User, "delete", record: Record) if record.owner = user and user.request.action.soft = true;
