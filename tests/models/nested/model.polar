# Folders in folders and teams in teams, each list of users and teams; a ticket for a new file comes with the question.

belongs(u: User, t: Team) if u in t.members;
belongs(u: User, t: Team) if inner in t.members and inner matches Team and belongs(u, inner);

reads(u: User, f: Folder) if u in f.viewers;
reads(u: User, f: Folder) if t in f.viewers and t matches Team and belongs(u, t);
reads(u: User, f: Folder) if reads(u, f.parent);

allow(u: User, "read", f: Folder) if reads(u, f);
allow(u: User, "inherit", f: Folder) if reads(u, f) and not u in f.viewers;
allow(u: User, "create", t: Ticket) if reads(u, t.folder);
allow(u: User, "publish", t: Ticket) if reads(u, t.folder) and not t.kind = "secret";
