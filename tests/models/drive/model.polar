# A drive: folders with an owner and editors, documents with viewers, teams that stand for their members.

# D1: Who is named, or belongs to a team that is named, is a viewer of the document.
views(u: User, d: Doc) if u in d.viewers;
views(u: User, d: Doc) if t in d.viewers and t matches Team and u in t.members;

# D2: The owner of the folder is a user or a team.
owns(u: User, f: Folder) if u = f.owner;
owns(u: User, f: Folder) if t = f.owner and t matches Team and u in t.members;

edits(u: User, f: Folder) if owns(u, f);
edits(u: User, f: Folder) if u in f.editors;
edits(u: User, f: Folder) if t in u.teams and t in f.editors;

# D3: Viewers and editors read; editors write.
allow(u: User, "read", d: Doc) if views(u, d);
allow(u: User, "read", d: Doc) if edits(u, d.folder);
allow(u: User, "write", d: Doc) if edits(u, d.folder);

# D4: Who is named has the document among the documents that they view.
allow(u: User, "recall", d: Doc) if d in u.viewed_docs;
allow(t: Team, "recall", d: Doc) if d in t.viewed_docs;

# D5: A team keeps the folders that it owns.
allow(t: Team, "keep", f: Folder) if f in t.owned;
