"""The page about folders in folders: its model compiles, and its table of answers is true."""

import io
import re
from datetime import UTC, datetime

from authz.database import Database
from authz.importing import import_facts
from authz.policy.compiler import compile_texts
from authz.policy.pdp import PDP
from tests.support.documents import ROOT

PAGE = (ROOT / "docs/explanation/folders-in-folders.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"```(toml|polar|json)\n(.*?)```", PAGE, re.DOTALL))
ANSWERS = re.findall(r"^\| (who|what) (\w+) (\w+) (\w+) \| ([\w, ]+) \|$", PAGE, re.MULTILINE)


def test_every_answer_of_the_page(database: Database) -> None:
    """Each row of the table is what both databases answer, as a list and one by one."""
    now = datetime.now(UTC)
    policy = compile_texts({"types.toml": BLOCKS["toml"], "policy.polar": BLOCKS["polar"]})
    import_facts(database, io.BytesIO(BLOCKS["json"].encode()), policy.types, now=now)
    pdp = PDP(database, policy, clock=lambda: datetime.now(UTC))
    assert len(ANSWERS) == 5
    for kind, first, second, third, answer in ANSWERS:
        expected = answer.split(", ")
        if kind == "who":
            assert pdp.search_subjects("user", first, (second, third)) == expected
            pairs = [(who, third) for who in ("anne", "bob")]
            assert [
                who for who, what in pairs if pdp.evaluate(("user", who), first, (second, what)).allowed
            ] == expected
        else:
            assert pdp.search_resources(("user", first), second, third) == expected
