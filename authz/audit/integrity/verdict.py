"""The verdict on a record, as commands, reports and notebooks show it: a word, its colour, a sentence, an exit code."""

from authz.audit.verify import PARTLY, VERIFIED, LogReport, LogVerdict, make_verdict

__all__ = ["LogVerdict", "verdict_of"]


def verdict_of(report: LogReport, unproven: str = "") -> LogVerdict:
    """The verdict on a verified record. `unproven`: a source of the same answers that no tree covers, such as Parquet
    files; with one, VERIFIED becomes PARTLY VERIFIED.
    """
    verdict = report.verdict
    if not unproven:
        return verdict
    word = PARTLY if verdict.word == VERIFIED else verdict.word
    return make_verdict(word, f"{verdict.sentence}; not proven: {unproven}")
