"""The lines of an import that are checked and written together: what is stored about them, and what they change.

The database is read once for the whole batch. Lines are applied in memory, in their order, so that a fault is the fault
of one line.
"""

from collections.abc import Iterable, Iterator

from authz.database import Database, check_clock
from authz.importing.lines import Line
from authz.importing.lives import Fields, Outcome, change_end, match_life, require_line_span
from authz.importing.rows import EntityVersion, GrantLife, Key, Life, PatientState
from authz.importing.stored import StoredFacts


class ImportBatch:
    """Some lines of an import: the stored facts about the things that they name, and the additions and changes.

    `changed_facts` holds what earlier lines of the file changed, and grows by what the lines of this batch change.
    `now` is the instant of the import in microseconds.
    """

    def __init__(
        self, database: Database, now: int, lines: Iterable[Line], changed_facts: set[tuple[object, ...]] | None = None
    ) -> None:
        self.database, self.now = database, now
        self.changed_facts: set[tuple[object, ...]] = set() if changed_facts is None else changed_facts
        self.new_facts: set[tuple[object, ...]] = set()
        self.new_subscriptions: list[tuple[str, str, str]] = []
        self.changed_subscriptions: list[tuple[str, str, str, list[str]]] = []
        self.new_practitioners: list[tuple[str, str, str]] = []
        self.changed_practitioners: list[tuple[str, str, str, list[str]]] = []
        self.new_lives: list[tuple[str, Key, Life]] = []
        self.new_patients: dict[str, PatientState] = {}
        self.new_grants: list[tuple[str, GrantLife]] = []
        self.new_versions: list[tuple[tuple[str, str], EntityVersion]] = []
        self.leavers: set[tuple[str, str]] = set()
        check_clock(database).result()
        self.stored = StoredFacts(database, lines)

    def put_life(
        self,
        noun: str,
        key: Key,
        lives: list[Life],
        fields: Fields,
        started: int,
        other: dict[str, object] | None = None,
    ) -> Outcome:
        """Begin the life that a line is about, or change the end of the current one."""
        match = match_life(lives, fields, started, self.now)
        if isinstance(match, Life):
            return change_end(match, fields["until"], lives, self.now)
        if match == "new":
            require_line_span(fields, started)
            self.begin_life(noun, key, lives, Life(started, fields["until"], other=other or {}))
        return match

    def begin_life(self, noun: str, key: Key, lives: list[Life], life: Life) -> None:
        """Add a life to those of its key."""
        lives.append(life)
        self.new_lives.append((noun, key, life))

    def begin_version(self, key: tuple[str, str], version: EntityVersion) -> None:
        """Add a version of an entity."""
        self.stored.entities[key].append(version)
        self.new_versions.append((key, version))

    def ended_versions(self) -> Iterator[tuple[tuple[str, str], EntityVersion]]:
        """Yield the stored versions of entities that lines ended."""
        for key, versions in self.stored.entities.items():
            yield from ((key, version) for version in versions if version.previous_end and version.id)

    def begin_grant(self, patient: str, grant: GrantLife) -> None:
        """Add a grant on a patient."""
        self.stored.patients[patient].grants.append(grant)
        self.new_grants.append((patient, grant))

    def changed_patients(self) -> Iterator[tuple[str, PatientState]]:
        """Yield the stored patients that lines changed."""
        for patient, state in self.stored.patients.items():
            if state.changes and patient not in self.new_patients:
                yield patient, state
