"""Tests of a policy folder: stories of facts and questions, what they cover, and the mutants that they notice.

`stories` reads the files ``*_test.yaml``, `asking` asks their questions, `difference` and `junit` describe the results,
`coverage` says what the questions decide by, `mutants` changes a condition at a time, and `listing` shows the text.
Everything runs on a database in memory, which holds the facts of a story and nothing else.
"""

from authz.policy_tests.running import StoryResults, run_stories
from authz.policy_tests.stories import Story, read_stories, story_files

__all__ = ["Story", "StoryResults", "read_stories", "run_stories", "story_files"]
