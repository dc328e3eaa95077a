# Organisations with administrators, partners and teams of teams, two deep.

belongs(u: User, t: Team) if u in t.leads;
belongs(u: User, t: Team) if u in t.members;
belongs(u: User, t: Team) if inner in t.members and inner matches Team and u in inner.members;

administers(u: User, o: Organisation) if u in o.admins;
administers(u: User, o: Organisation) if t in o.admins and t matches Team and belongs(u, t);

allow(u: User, "push", r: Repository) if u = r.maintainer;
allow(u: User, "push", r: Repository) if t = r.maintainer and t matches Team and belongs(u, t);
allow(u: User, "push", r: Repository) if o = r.maintainer and o matches Organisation and administers(u, o);
allow(u: User, "delete", r: Repository) if administers(u, r.organisation);
allow(u: User, "read", r: Repository) if o in r.organisation.trusted_by and administers(u, o);
allow(u: User, "read", r: Repository) if o in r.organisation.partners and administers(u, o);
allow(t: Team, "serve", o: Organisation) if t in o.admins;
