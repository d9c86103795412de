"""The article's claims, and the finding each gets from a recording.

What settles each claim is registered in a table (:mod:`.rules`). No finding is typed in by hand;
:func:`judge` makes it from the rows of one run (:mod:`.judging`), and :mod:`.runs` says which run
that is. The rules, with [lo, hi] the estimate's 95 % interval and θ the bound:

``ratio``, ``slope``
    lo ≥ θ supported · 1 < lo < θ with caveats · hi ≤ 1 refuted · else inconclusive. ``slope``
    compares marginal costs (b of the fitted a + b·N), ``ratio`` medians of paired blocks. The rows
    of a ramp carry phase ``ramp``, so that a single idle instance's never enter a fit.
``bound``
    hi ≤ θ supported · lo > θ refuted · else inconclusive; after ``at least:`` lo ≥ θ supported ·
    hi < θ refuted.
``facts``
    ``all``: every term holds → supported, else refuted. ``graded``: all → supported, none →
    refuted, some → with caveats. ``split``: as graded, but some → inconclusive. Observations of
    one fact that disagree → inconclusive.
``judgement``
    no measurement can settle it; the estimand, where there is one, is measured beside it.

``control: facts;`` before any of them: a control that fails → inconclusive.

**Kind.** *time* is not decided under software emulation; *size* gets at best "with caveats" there;
*fact* does not depend on it. **Few runs.** Fewer than 10 VM runs, 30 fast ones or 3 ramps: at best
"with caveats"; ``image_bytes`` are exact and exempt.

**Against its own handicap.** Software emulation only makes a VM slower. So where a claim says that
a VM takes at least so much, and only the rows above the line were emulated, its rule may refute it
even so, also a claim about time. The reverse never follows.

**Caveats** (entries separated by ``;``), each of which turns "supported" into "with caveats" when
it comes out the other way:

``<quantity>``
    an arm judged with the claim's own bound: the other way is hi < θ ("at most": lo > θ); after
    ``below 1:`` with that bound.
``fact: name``
    the other way is that the fact holds.
``always: text``
    holds whatever is measured, and is quoted.
``text: text``, ``beside: <quantity>`` and ``published: metric: system``
    listed only, the last as a line of ``data/literature.csv``, like every arm that is not measured
    or not settled; they change nothing.

**Others** (``metric: system`` of lines of ``data/literature.csv``, separated by ``;``): what others
measured with hardware virtualisation. It is shown beside "not measured here" and decides nothing.
"""

from vmcompare.evidence.claims.judging import Conclusion as Conclusion
from vmcompare.evidence.claims.judging import Finding as Finding
from vmcompare.evidence.claims.judging import Undecided as Undecided
from vmcompare.evidence.claims.judging import combine as combine
from vmcompare.evidence.claims.judging import concerned as concerned
from vmcompare.evidence.claims.judging import judge as judge
from vmcompare.evidence.claims.judging import observed as observed
from vmcompare.evidence.claims.judging import told as told
from vmcompare.evidence.claims.rules import ARTICLE as ARTICLE
from vmcompare.evidence.claims.rules import Claim as Claim
from vmcompare.evidence.claims.rules import Rule as Rule
from vmcompare.evidence.claims.rules import load as load
from vmcompare.evidence.claims.rules import quoted as quoted
