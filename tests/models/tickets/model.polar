# Tickets that do not exist yet: all of them comes with the question "may create". A gateway asks for itself.

allow(u: User, "create", t: Ticket) if
    u in t.space.members and u.suspended = false and t.cost <= u.limit and t.due > now;
allow(u: User, "triage", t: Ticket) if t.author = u and t.kind != "secret";
allow(u: User, "draft", t: Ticket) if t.kind = t.space.kind and u in t.space.members;
allow(u: User, "name", t: Ticket) if u.id = t.id;
allow(g: Gateway, "forward", t: Ticket) if g.zone = t.kind and t.urgent = true;
allow(g: Gateway, "enter", s: Space) if g.zone = s.kind;
