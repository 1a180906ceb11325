"""Of what a sentence says with several quantities, or of one that is changed, no number is read."""

from __future__ import annotations

from fractions import Fraction

import pytest
from faults import drawn
from hypothesis import given
from hypothesis import strategies as st

from chord.rewards.numbers import only_number, stated_number

pytestmark = pytest.mark.faults

fuzzed = drawn(few=150, full=20_000)

NONE = {
    "quantities in two parts": """
        5 and 3/4|5 & 1/2|five and 1/2|5 plus 1/2|1 hour 30 minutes|1 hour, 30 minutes|5h 30min
        an hour and 30 minutes|an hour 30 minutes|half an hour and 5 minutes|5 hours thirty minutes
        5 hours and a half|5 feet 3 inches|5 feet three inches|5 ft. 3 in.|5' 3"|5° 30'|5 lbs., 3 oz
        $5 and 30 cents|5 dollars and thirty cents|2 dollars 50|5 cents and a dollar
        2 tens and 5 ones|5 tens|5 fives
        **5** hours **30** minutes|$5$ hours $30$ minutes|It takes 5 hours 30 minutes.
        The trip takes 5 hours⏎30 minutes.|5 hours and⏎30 minutes|5 hours,⏎30 minutes""",
    "other bases": """
        101 in base 2|101 base 2|101 (base 2)|5 (base 7)|5 (base seven)|101 in base two|101 binary
        101 (binary)|101 in binary|17 hexadecimal|5 in octal|5 (mod 7)|5 mod 7|5_7""",
    "remainders": """
        3 remainder 5|3 r. 5|3 r 5|3 R5|3, remainder 5|3 with a remainder of 5|3 remainder: 5
        Quotient: 3, Remainder: 5|3 remainder five|3 with remainder five""",
    "arithmetic in words": """
        the sum of 2 and 5|product of 2 and 5|the difference between 2 and 5|10 decreased by 5
        10 increased by 5|10 less 5|10 take away 5|subtract 5|5 less than ten|three more than 5
        5 increased by ten|5 followed by six zeros|thrice 5|quadruple 5|5 quadrupled|a third of 5
        5 percent of 20|20% of 5|5% of twenty|5 percent of twenty|1 in every 5|one in every 5
        5 in ten|3 for every 5|5 to the third|the 3rd of 5|added to 5|five point 5|half past 5""",
    "signs in words": """
        negation of 5|neg 5|neg. 5|neg: 5|minus: 5|minus, 5|negative: 5|minus (5)|negative $5
        the additive inverse of 5|5 below zero|5 degrees below zero|not 5|not equal to 5|can't be 5
        is never 5|anything but 5|minus:⏎5|plus or minus 5""",
    "scales": """
        5 decillion|5 zillion|5 nonillions|5 giga|5 mega|5 kilo|5 milli|5 nano|5 permille|5 grand
        5 MM|5 twenty-fifths|a hundred 5|a dozen and 5""",
    "alternatives and lists": """
        5 or 6|either 5 or 6|5, or 6|5 or six|5 or x|five or 6|x or 5|5 and 6|5, 6|5; 6|5, 6 and 7
        5, six|five, 6|five (6)|x, 5|5 but 6|5 vs 6|5 then 6|5 | 6
        5 apples and 6 pears|5 boys, 6 girls
        x = 5 or x = 6|x is 5 or x is 6|x = 5, y = 6|$x = 5$ and $y = 6$|5 and⏎6|5,⏎6""",
    "bounds": """
        less than 5|more than 5|no more than about 5|greater than or equal to 5|at least 5|at most 5
        at least $5|up to 5|as many as 5|under 5|over 5|exceeds 5|within 5|almost 5|a minimum of 5
        max 5|5 or more|5, or more|5 apples or fewer|5 and up|5 at least|at least⏎5""",
    "ranges, ratios and parts of a whole": """
        between 5 and 6|from 5 to 6|5 to six|5 apples to 6|the ratio of 5 to 6|5 is to 6|3 of the 5
        20 dollars in 3 days|It earned 20 dollars in 3 days.|two by 5""",
    "factorials": r"""
        5!|n = 5!|5! ways|There are 5! ways.|The answer is $5!$.|The answer is \(5!\)|\boxed{5!}
        The answer is (5)!|Answer: 5!""",
    "dates and labels": """
        May 5|July 4|quarter to 5|5 minutes to six|by step 5|see equation 5|No. 5""",
    "scripts without spaces": """
        5小时30分钟|5或6|5到6|至少5|不是5|超过5|负5|5和6|所以一共有5个苹果。|答えは5です""",
    "fractions beside digits": r"""
        \frac{1}{2}3|\frac{1}{2}0|\frac{1}{2}.5|⅓5|½½|x = \frac123|5/ten|½ a dozen|5 & a half
        5-and-a-half|5-teen|5 baker's dozen""",
    "tags": """
        -<b>5</b>|$-$<b>5</b>|5<b>k</b>|<b>5</b> million|<b>5</b>!|> <b>5</b>|x<sub>5</sub>
        <sup>5</sup>|<del>5</del>|<x n=5>""",
    "broken groups": r"""
        1.\,234|1. 234|0. 5|3. 5|point 5|5.30pm""",
    "scales of many kinds": """
        5, in thousands|5 (in millions)|5 [thousands]|5 in thousands|$5mm|$5 m|5 Cr|₹5 L|5 Ks|5 Tsd.
        5 mld|5 Millionen|5 millones|5 mille|5 тысяч|The answer is 5 million|#### 5 million|#### -5k
        <answer>5 million</answer>""",
    "signs of many kinds": """
        (minus) 5|(negative) 5|5 (negative)|5, negative|negative value 5|-;5|-:5|-==5==|5€-|x=−−5
        is -- 5|is — 5|x = +-5|minus⏎⏎5|The answer is minus 5|<answer>minus 5</answer>""",
    "differences and repetitions": """
        He walks 5 miles twice.|The answer is 5 miles twice.|She has 5 apples too few.|5 off
        She has 5 times as many apples as Tom.|She is 5 years younger.|The price is $5 cheaper.
        The price is $5 off.|It takes 5 days longer.|He is $5 behind.|The price is $5 more.
        He is 5 minutes late.|He ran 5 laps several times.|\\boxed{5} miles twice""",
    "two statements": """
        He is 5 feet and is 5 inches|x = 6 feet, y = 5 inches|x = 5 where y = 6
        He has three, she has 5|It takes 2 hours and takes 5 minutes|x is 2, y is 5
        It is 5. Actually it is|five: 6|The answer is 5. Actually it is 6.|The answer is 5. x = 6
        The answer is 5, x = 6|The answer is 5 and x = 6""",
    "doubts and labels": """
        5 is wrong|hardly 5|5? No.|The answer is 5. Wrong.|The answer is not 5|If the answer is 5
        I doubt the answer is 5|Day 5|p. 5|§ 5|#5|the 5th|5 May|5 BC|5 am|5 o'clock|5 to six""",
    "what stands beside a box": r"""
        \boxed{5} million|-\boxed{5}|$-\boxed{5}$|2\boxed{5}|\boxed{5}^2|\boxed{5}k|\boxed{5}!
        \boxed{1} and \boxed{5}|\sqrt{\boxed{5}}|x \neq \boxed{5}|minus \boxed{5}|x > \boxed{5}""",
    "times, debts and other meanings": """
        The answer is 5 in debt.|His balance is $5 overdrawn.|The elevation is 5 feet underwater.
        She is $5 short.|The change is 5 percent down.|The answer is 5 in the evening.|5 past|5 an
        The time is 5 sharp.|The answer is 12 noon.|It costs 5 kUSD.|5 thsd.|5 m USD|5 m dollars
        x = 5 a|5 times itself|5 apples incorrectly|x = 5 rejected|5 in|5 of""",
    "conditions, questions and denials": """
        Reject x = 5.|Suppose he has 5.|Given that she has 5.|It works iff x = 5.|Is x = 5
        We want to show that x = 5.|Does she have 5|It is impossible that she has 5 apples.
        Nobody says she has 5 apples.|She denies she has 5 apples.|It isn't so that x = 5.
        The domain is all x other than x = 5.|It is not therefore x = 5.|Do not conclude so x = 5.
        The answer is at least x = 5.|The total is 3 less than x = 5.|Minus the answer is 5.
        You might think the answer is 5.|A common mistake is that the answer is 5.
        2 times the answer is 5.|The square of the answer is 5.|Twice the answer is 5.""",
    "what goes on above or below a box": r"""
        The answer is $$\boxed{5}$$⏎million dollars.|minus⏎\boxed{5}
        $$\frac{⏎\boxed{5}⏎}{2}$$|The answer is not⏎\boxed{5}|She does not have \boxed{5} apples.
        \boxed{5}.5""",
    "hedges": """
        Maybe the answer is 5.|Perhaps the answer is 5.|I guess the answer is 5.|Possibly 5
        It seems that the answer is 5.|Possibly, the answer is 5.|Supposedly the answer is 5.
        Allegedly, the answer is 5.|The answer might be 5.|The answer could be 5.
        The answer would have been 5.|Maybe she has 5 apples.|Perhaps x = 5.|I guess it is 5.
        It seems that she has 5.|It could be 5.|It might be 5.|It would have been 5.|It may be 5.
        Possibly, she has 5.|It is supposedly 5.|She allegedly has 5.|Maybe: 5""",
    "someone else's answers": """
        Some students say the answer is 5.|Many would say the answer is 5.|Many would say x = 5.
        The student's answer is 5.|A naive answer is 5.|A naive answer: 5|The trap answer is 5.
        Old answer: 5|The old answer is 5.|Previous answer: 5|The previous answer was 5.
        The second answer is 5.|Another answer is 5.|Another answer: 5|The student's answer was 5.
        Some students say it is 5.|Some people think x = 5.|He claims the answer is 5.""",
    "calculations with the answer": """
        One more than the answer is 5.|The answer plus one is 5.|The answer's square is 5.
        The number of digits in the answer is 5.|Digits in the answer: 5|A bound on the answer: 5
        A bound on the answer is 5.|The bound for the answer is 5.|2 + the answer is 5
        **half of** the answer is 5
        The sum of x and the answer is 5.|The sum of $x$ and the answer is 5.|x and the answer is 5
        The sum of f(x) and the answer is 5.|It is so that the sum of 2 and the answer is 5.""",
    "assumptions": r"""
        Let x = 5.|Take x = 5.|Say x = 5.|Try x = 5.|Consider x = 5.|Setting x = 5.|Testing x = 5.
        Substitute x = 5.|Check x = 5.|For x = 5.|At x = 5.|Now let x = 5.|Let $x = 5$.|Let x be 5.
        First, try x = 5.|Let's say x = 5.|Plug in x = 5.|The minimum is at x = 5|My guess is 5
        Initial guess: 5|Take it to be 5.""",
    "past, wishes and headings": """
        It used to be 5.|She used to have 5 apples.|She hoped to have 5.|She should have 5 apples.
        It should have been 5.|5 tops|5 upwards|5 ish|x = 5 tops|The answer is 5 tops.
        Problem: 5|Step: 5|Page: 5|**Problem:** 5|Question: 5""",
    "answers taken back in the same line": """
        The answer is 5. But that is half.|The answer is 5. No, 6.|The answer is 5. Or 6.
        The answer is 5. Wait, I forgot one.|The answer is 5. So she has 6 apples.
        The answer is 5. That is not it.|The answer is 5. Million dollars.|The answer is 5? Yes.
        The answer is 5. I mean 6.|The answer is 5. I am not sure.|Answer: 5. The total is 6.""",
    "readable, but not in a documented form": """
        - Cost of 3 shirts: $60|2x = 24, x = 12|5 and up
        There are 5 more boys than girls.|She finished in 14 days.|The number is twenty-five (25).
        The answer is 7!|The answer is **7**!|He pays $7! That is all.|5, because|5 (five)""",
}  # fmt: skip


def cases(kind: str) -> list[str]:
    lines = [line.strip() for line in NONE[kind].strip().split("\n")]
    texts = [text for line in lines for text in line.replace(" | ", "¦").split("|")]
    return [text.replace("¦", " | ").replace("⏎", "\n") for text in texts]


@pytest.mark.parametrize("kind", NONE)
def test_what_is_more_than_one_number_gives_none(kind: str) -> None:
    read = {text: stated_number(text) for text in cases(kind)}
    assert read == dict.fromkeys(read)
    assert {text for text in read if only_number(text) is not None} == set()


def test_a_sign_above_a_box_is_not_lost() -> None:
    assert stated_number("$$x = -\n\\boxed{5}$$") is None
    assert stated_number("$$x =\n\\boxed{-5}$$") == -5


CONNECTED = [
    " and ", " or ", ", ", "; ", " & ", " hours ", " feet, ", " ft. ", " remainder ", " r. ",
    " to ", " in base ", " (base ", " out of ", " in every ", " decreased by ", " dollars and ",
    " times ",
    " percent of ", " apples, or ", " then ", " less ", " than ", " but not ", " / 2 + ",
]  # fmt: skip
BEFORE = ["", "The answer is ", "It takes ", "x = ", "So: ", "**Answer:** "]
BEHIND = ["", ".", " minutes", " minutes.", "**", ")"]


@fuzzed
@given(
    st.sampled_from(BEFORE),
    st.integers(0, 99),
    st.sampled_from(CONNECTED),
    st.integers(0, 99),
    st.sampled_from(BEHIND),
)
def test_two_numbers_without_a_statement_between_them_give_none(
    before: str, first: int, connected: str, last: int, behind: str
) -> None:
    text = f"{before}{first}{connected}{last}{behind}"
    assert stated_number(text) is None, text


ORDINARY = r"""
    The answer is 72 apples.|72
    #### 1,234|1234
    x = 5|5
    50%|50
    Therefore, Janet makes $18 every day.|18
    After 3 days, he has 20 apples.|20
    In 3 hours she walked 20 miles.|20
    The total cost for 3 shirts would be $60.|60
    Each of the 3 friends gets 4 slices.|4
    He needs a total of 25 boxes.|25
    2x = 24, so x = 12|12
    The area comes to 15 square meters.|15
    It adds up to 15.|15
    The expression simplifies to 15.|15
    The sum of 2 and 5 is 7.|7
    10 decreased by 5 is 5|5
    20% of 50 is 10.|10
    The minimum is 5.|5
    Max: 5|5
    Time (min): 5|5
    She earned $42 per week.|42
    about 14|14
    approximately $14|14
    He will need 5 buses to carry the students.|5
    He pays 5 times.|5
    Since 3 of them left, there are 2 remaining.|2
    Step 1: 3 + 4 = 7⏎Step 2: 7 * 2 = 14|14
    1. Add: 3 + 4 = 7⏎2. Double it: 7 * 2 = 14|14
    Hence $x=5$ cm.|5
    \( x = 5 \)|5
    x_1 = 5|5
    The probability is $\frac{1}{6}$.|1/6
    The area is 5 cm².|5
    Thus, the answer is $\boxed{-\frac{1}{2}}$|-1/2
    \[⏎x = 5⏎\]|5
    **Answer**: \(5\)|5
    Final answer: **$1,234.50**|1234.5
    The final answer is: $\boxed{18}$. I hope it is correct.|18
    <answer>⏎42⏎</answer>|42
    <think>6 * 7 = 42</think>⏎42|42
    Therefore, Janet makes $18 every day at the farmers' market.|18
    So Josh made a profit of $70,000.|70000
    Kylar needs to pay $64 for the glasses.|64
    it will take 160 minutes to download the file.|160
    So she will have 3 * $4 = $12 left.|12
    16 - 7 = 9⏎9 * 2 = 18|18
    47*6=282;282+3760=4042|4042
    The total cost is therefore $25.|25
    The answer is 5.⏎⏎Let me know if you have 2 questions!|5
    \boxed{5\text{ cm}}|5
    \boxed{50\%}|50
    \boxed{5^\circ}|5
    x &= 5 \\|5
    {"answer": 5}|5
    Answer: \(-\frac{1}{2}\)|-1/2
    She has⏎5 apples.|5
    x = -⏎5|-5
    She has 3 + 2 = **5** apples.|5
    3 + 2 = **5**|5
    The answer is: 3 + 2 = **5**|5
    x ≈ **5**|5
    x = `5`|5
    x = "5"|5
    x = $5$|5
    x = \(5\)|5
    $x = \mathbf{5}$|5
    **Total:** $5|5
    - **Total:** $5|5
    __Total:__ 5|5
    Total: **5**|5
    **Total**: **5**|5
    Total: $5$|5
    - Apples: 3⏎- Total: **5**|5
    **Total: $5**|5
    She has **3 + 2 = 5** apples.|5
    **The answer is:** **5**|5
    The total is **5**.|5
    $\boxed{5 \text{ apples}}$|5
    \boxed{5 \text{ cm}}|5
    \boxed{\$5 \text{ per hour}}|5
    \boxed{\frac{10}{2} \text{ of the cake}}|5
    \boxed{5 \, \text{apples}}|5
    \boxed{5 \mathrm{ apples}}|5
    \boxed{5\mathrm{~m}}|5
    The answer is $5 \text{ apples}$.|5
    $$3 + 2 = 5 \text{ apples}$$|5
    \[ \text{Total} = 5 \, \text{dollars} \]|5
    = 5\, \text{dollars}|5
    $\boxed{5\text{ cm}^2}$|5
    5\,\mathrm{cm}^2|5
    \boxed{5^{\circ}\text{C}}|5
    The answer is:⏎\[⏎5⏎\]|5
    The final answer is:⏎⏎\[⏎5⏎\]|5
    The final answer is⏎⏎$$⏎5⏎$$|5
    Answer:⏎⏎```⏎5⏎```|5
    ### Final Answer⏎⏎**5**|5
    ### Final Answer⏎⏎5 apples|5
    **Answer**⏎⏎5|5
    * She has 5 apples.|5
    * The total is 5.|5
    *   **Total:** 5|5
    $9 - 4 = \$5$|5
    $x = \$5$|5
    So she makes $9 - 4 = \$5$ per day.|5
    The total is **$\$5$**.|5
    x = 5 in total|5
    She eats 5 eggs in the morning.|5
    2x = 10, so x = 5|5
    2x = 10 \implies x = 5|5
    Therefore x = 5|5
    In this case, x = 5|5
    Final Answer: The final answer is $18$. I hope it is correct.|18
    The answer is 18. I hope this helps!|18
    The answer is 18. Let me know if you have questions.|18
    The answer is **18**. Let me know if you have 2 more questions!|18
    The answer is 18. This is because 9 + 9 = 18.|18
    The answer is 18. This is because she has 9 eggs and finds 9.|18
    The answer is 18. So she makes $18 every day.|18
    Answer: 18 apples. She eats them all.|18
    48+24 = <<48+24=72>>72 clips|72
    She makes 9 * 2 = $<<9*2=18>>18 every day.|18
    He has 3+2=<<3+2=5>>5 apples.|5
    The final answer is 5.|5
    Thus, the correct answer is 5.|5
    Finally, the right answer is 5.|5
    Therefore the answer to the problem is 5.|5
    2 + 3 = 5, so the answer is 5.|5
    She has 2 times 3 = 6 apples, so the answer is 6.|6
    It is not 4 but 5, so the answer is 5.|5
    Hence our final answer is 5.|5
    I think the answer is 5.|5
    We find that the answer is 5.|5
    In conclusion, the answer is 5|5
    **Step 3:** The answer is 5|5
    **Step 3** The answer is 5|5
    - Final answer: 5|5
    The answer (in cm) is 5.|5
    The answer is therefore 5.|5
    The answer would be 5.|5
    The answer comes to 5.|5
    The final answer = 5|5
    Adding both, we get the answer: 5|5
    $3 + 2 = 5$ and the answer is 5|5
    The total is 5 and the answer is 5.|5
    She has 2 + 3 = 5 apples, and the answer is 5.|5
    \text{The answer is } 5|5
    Let x be the price, then x = 5|5
    Solving for x gives x = 5|5
    She takes 5 apples.|5
    She needs 5 more apples.|5
    5 times as many|5
    The answer is 5 more apples.|5
    ### Answer⏎5|5
    **Final Answer**⏎5 apples⏎⏎Let me know if you have 2 questions!|5
    There are 3 boys, as well as 2 girls: 3 + 2 = 5|5
    Check: 3 + 2 = 5|5
    Number of steps: 5|5
"""


@pytest.mark.parametrize("line", [line.strip() for line in ORDINARY.strip().split("\n")])
def test_an_ordinary_answer_is_read(line: str) -> None:
    text, _, value = line.rpartition("|")
    assert stated_number(text.replace("⏎", "\n")) == Fraction(value)
