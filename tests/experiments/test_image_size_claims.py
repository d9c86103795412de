"""Each claim of the lesson, and each finding that its registered rule can give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted import planted
from planted_images import MIB, images

from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion

CLAIMS = {(claim.id, claim.part): claim for claim in claims.load()}
CAVEATS, SUPPORTED, REFUTED = Conclusion.WITH_CAVEATS, Conclusion.SUPPORTED, Conclusion.REFUTED
ABSENT, OPEN = Conclusion.NOT_MEASURED, Conclusion.INCONCLUSIVE

SMALL = {("vm", phase): 5 * MIB for phase in ("compressed", "allocated")} | {
    ("vm", phase): 0.1 * MIB for phase in ("second-application", "update")
}
WHOLE, SECOND, UPDATE = (
    ("P1", "size, whole image"),
    ("P1", "size, second application"),
    ("P1", "size, update"),
)
BYTES, DISK, INSIDE = ("P3", "bytes"), ("O1", "disk"), ("A3", "dependencies inside")

CASES: list[tuple[tuple[str, str], dict[str, Any], Conclusion]] = [
    (WHOLE, {}, SUPPORTED),
    (WHOLE, {"sizes": {("vm", "compressed"): 15 * MIB}}, CAVEATS),
    (WHOLE, {"sizes": SMALL}, REFUTED),
    (WHOLE, {"only": ["container"]}, ABSENT),
    (WHOLE, {"failed": ["vm"]}, ABSENT),
    (WHOLE, {"accel": "tcg"}, SUPPORTED),  # no file grows by emulation
    (SECOND, {}, CAVEATS),
    (SECOND, {"sizes": {("vm", "second-application-on-backing-file"): 2 * MIB}}, SUPPORTED),
    (SECOND, {"sizes": {("vm", "second-application-on-backing-file"): None}}, SUPPORTED),
    (SECOND, {"sizes": SMALL}, REFUTED),
    (SECOND, {"only": ["vm"]}, ABSENT),
    (UPDATE, {}, CAVEATS),
    (UPDATE, {"sizes": {("vm", "update-on-backing-file"): 2 * MIB}}, SUPPORTED),
    (UPDATE, {"sizes": SMALL}, REFUTED),
    (UPDATE, {"failed": ["container"]}, ABSENT),
    (BYTES, {}, CAVEATS),
    (BYTES, {"sizes": {("vm-direct", "compressed"): 50 * MIB}}, SUPPORTED),
    (BYTES, {"sizes": {("vm", "compressed"): 30 * MIB}}, CAVEATS),
    (BYTES, {"sizes": SMALL}, REFUTED),
    (BYTES, {"only": ["container"]}, ABSENT),
    (DISK, {}, CAVEATS),
    (DISK, {"sizes": {("vm-direct", "allocated"): 60 * MIB}}, SUPPORTED),
    (DISK, {"sizes": SMALL}, REFUTED),
    (DISK, {"only": ["vm"]}, ABSENT),
    (INSIDE, {}, SUPPORTED),
    (INSIDE, {"facts": {"musl_program_runs_in_container": 0.0}}, REFUTED),
    (INSIDE, {"facts": {"musl_program_fails_on_host": 0.0}}, OPEN),
    (INSIDE, {"facts": {"musl_program_fails_on_host": None}}, ABSENT),
    (INSIDE, {"only": ["vm"]}, ABSENT),
]


@pytest.mark.parametrize(("which", "planting", "verdict"), CASES)
def test_data_decide_the_finding(
    tmp_path: Path, which: tuple[str, str], planting: dict[str, Any], verdict: Conclusion
) -> None:
    recording = planted(tmp_path, images(**planting), rounds=1, experiment="image_size")
    assert claims.judge(CLAIMS[which], recording.frame()).verdict is verdict


def test_one_exact_count_is_enough(tmp_path: Path) -> None:
    recording = planted(tmp_path, images(), rounds=1, experiment="image_size")
    finding = claims.judge(CLAIMS[WHOLE], recording.frame())
    assert not any("few runs" in caveat for caveat in finding.caveats)
