"""Writes a small set of finance questions with computed answers, as conversations in JSON lines.

    python3 examples/recipes/finance_questions.py data    # data/finance-train.jsonl and data/finance-validation.jsonl

The set's card:

    Source    written by this program alone: amounts, rates and names are drawn from a fixed seed, every answer is calculated
    Licence   MIT OR Apache-2.0, as all of Palestra
    Language  English
    Size      1,200 conversations to learn from and 120 others held out; 0.3 MB
    Form      a line {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}
    Kinds     simple and compound interest, present value, current yield, profit margin, price-earnings ratio: a sixth each
    Teaches   a form of answer: the formula, the numbers, the result
    Lacks     knowledge of markets, advice, other forms of a question: a held-out one differs in names and numbers alone

Needs nothing but Python.
"""

import json
import random
import sys
from pathlib import Path

TRAINING, VALIDATION = 1200, 120
NAMES = "Ada Ben Chloe David Elena Farid Grace Hugo Ines Jonas Kofi Lena Mateo Nadia Omar Petra".split()


def money(amount):
    return f"${amount:,.2f}"


def simple_interest(pick, name):
    amount, rate, years = pick.randrange(500, 20001, 250), pick.randrange(1, 13) / 2, pick.randrange(2, 11)
    interest = amount * rate / 100 * years
    return (
        f"{name} lends {money(amount)} at {rate} % simple interest a year for {years} years. How much interest is paid?",
        f"Simple interest is principal x rate x time: {money(amount)} x {rate / 100:.3f} x {years} = {money(interest)}.",
    )


def compound_interest(pick, name):
    amount, rate, years = pick.randrange(500, 20001, 250), pick.randrange(2, 17) / 2, pick.randrange(2, 11)
    total = amount * (1 + rate / 100) ** years
    return (
        f"{name} saves {money(amount)} at {rate} % a year, compounded yearly. What is it worth after {years} years?",
        f"Compound growth is principal x (1 + rate)^years: {money(amount)} x {1 + rate / 100:.3f}^{years} = {money(total)}.",
    )


def present_value(pick, name):
    amount, rate, years = pick.randrange(1000, 50001, 500), pick.randrange(2, 17) / 2, pick.randrange(2, 11)
    value = amount / (1 + rate / 100) ** years
    return (
        f"{name} will receive {money(amount)} in {years} years. What is that worth today at a discount rate of {rate} %?",
        f"Present value is amount / (1 + rate)^years: {money(amount)} / {1 + rate / 100:.3f}^{years} = {money(value)}.",
    )


def current_yield(pick, name):
    price, coupon = pick.randrange(850, 1151, 5), pick.randrange(20, 91, 5)
    return (
        f"{name} buys a bond for {money(price)} that pays {money(coupon)} a year. What is its current yield?",
        f"Current yield is yearly coupon / price: {money(coupon)} / {money(price)} = {100 * coupon / price:.2f} %.",
    )


def profit_margin(pick, name):
    revenue = pick.randrange(20, 401) * 1000
    costs = int(revenue * pick.randrange(50, 96) / 100)
    margin = 100 * (revenue - costs) / revenue
    return (
        f"{name}'s shop has revenue of {money(revenue)} and costs of {money(costs)}. What is its profit margin?",
        f"Profit margin is (revenue - costs) / revenue: {money(revenue - costs)} / {money(revenue)} = {margin:.1f} %.",
    )


def price_to_earnings(pick, name):
    price, earnings = pick.randrange(10, 301), pick.randrange(100, 1501) / 100
    return (
        f"{name} looks at a share that costs {money(price)} and earns {money(earnings)}. What is its price-earnings ratio?",
        f"The price-earnings ratio is price / earnings per share: {money(price)} / {money(earnings)} = {price / earnings:.1f}.",
    )


KINDS = [simple_interest, compound_interest, present_value, current_yield, profit_margin, price_to_earnings]


def main(folder):
    pick = random.Random(7)
    asked = {}
    while len(asked) < TRAINING + VALIDATION:
        question, answer = pick.choice(KINDS)(pick, pick.choice(NAMES))
        asked[question] = answer  # each question once, so that none is in both files
    rows = [
        json.dumps({"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]}) + "\n"
        for ask, answer in asked.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in [("train", rows[:TRAINING]), ("validation", rows[TRAINING:])]:
        path = folder / f"finance-{name}.jsonl"
        path.write_text("".join(part))
        print(f"{path}: {len(part)} conversations")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
