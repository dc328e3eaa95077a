"""Random policies that come back to themselves and negate, over the facts of `tests.support.worlds`."""

from typing import Any

from hypothesis import strategies as st

from tests.support import worlds

_FIXED = """
allow(p: Practitioner, "view", d: Document) if reach(p, d);
allow(p: Practitioner, "edit", d: Document) if edit(p, d);
allow(p: Practitioner, "note", d: Document) if not hidden(p, d) and reach(p, d);
allow(p: Practitioner, "clear", d: Document) if forall(e in d.author.written, reach(p, e)) and d.pages >= 0;
allow(p: Practitioner, "view", x: Patient) if e in x.documents and reach(p, e);
allow(p: Practitioner, "share", x: Patient) if g in x.grants and trusts(p, g.practitioner) and not banned(p, x);
banned(p: Practitioner, x: Patient) if e in x.documents and hidden(p, e);
banned(p: Practitioner, x: Patient) if not (m in p.memberships and m.subscription = x.subscription);
"""
_CLAUSES = {
    "reach": (
        "reach(p: Practitioner, d: Document) if d.author = p;",
        "reach(p: Practitioner, d: Document) if g in d.patient.grants and g.practitioner = p and g.ended_at > now;",
        'reach(p: Practitioner, d: Document) if d.open = true and m in p.memberships and m.role = "member";',
        'reach(_p: Practitioner, d: Document) if "knee" in d.tags;',
        "reach(p: Practitioner, d: Document) if reach(p, d.next);",
        "reach(p: Practitioner, d: Document) if e in d.author.written and reach(p, e);",
        "reach(p: Practitioner, d: Document) if e in d.patient.documents and e.open = true and reach(p, e);",
        "reach(p: Practitioner, d: Document) if not hidden(p, d) and reach(p, d.next);",
        "reach(p: Practitioner, d: Document) if d.pages > 0 and not d.author = p and reach(p, d.next);",
        "reach(p: Practitioner, d: Document) if reach(p, e) and e.next = d;",
        "reach(p: Practitioner, d: Document) if edit(p, d);",
        "reach(p: Practitioner, d: Document) if (d.open = true or d.pages = 1) and edit(p, d.next);",
    ),
    "edit": (
        "edit(p: Practitioner, d: Document) if d.author = p and d.pages > 0;",
        "edit(p: Practitioner, d: Document) if edit(p, d.next) and d.open = true;",
        "edit(p: Practitioner, d: Document) if reach(p, d.next) and trusts(p, d.author);",
        "edit(p: Practitioner, d: Document) if trusts(q, d.author) and q.id != p.id and edit(p, d.next);",
    ),
    "hidden": (
        'hidden(_p: Practitioner, d: Document) if d.title = "knee";',
        "hidden(p: Practitioner, d: Document) if d.due < now and d.author != p;",
        "hidden(p: Practitioner, d: Document) if hidden(p, d.next);",
        "hidden(p: Practitioner, d: Document) if not (m in p.memberships and m.ended_at > now) and d.pages = 2;",
    ),
    "trusts": (
        "trusts(p: Practitioner, q: Practitioner) if s in q.standing_shares and s.owner = p and s.started_at <= now;",
        "trusts(p: Practitioner, q: Practitioner) if p = q;",
        "trusts(p: Practitioner, q: Practitioner) if s in q.standing_shares and trusts(p, s.owner);",
        "trusts(p: Practitioner, q: Practitioner) if trusts(p, r) and s in q.standing_shares and s.owner = r;",
    ),
}


@st.composite
def programs(draw: Any) -> dict[str, str]:
    """Draw some clauses of each rule."""
    chosen = [
        clause
        for clauses in _CLAUSES.values()
        for clause in sorted(draw(st.sets(st.sampled_from(clauses), min_size=2, max_size=5)), key=clauses.index)
    ]
    return {"policy.polar": "\n".join((*chosen, _FIXED)), "types.toml": worlds.TYPES}
