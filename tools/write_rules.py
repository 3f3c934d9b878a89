"""Print docs/rules.md from `VenueRules` itself: `python tools/write_rules.py > docs/rules.md`. A test keeps
the two in step."""

import dataclasses
import re

import cascade as cs
from cascade.rules import CHOICES, FLAGS, NUMBERS, STAGES

HEAD = """# Venue rules

`cs.VenueRules(...)` is one record of enumerations and numbers. A venue is such a record with a date and sources (`cs.venues`); nothing in the
engines branches on a venue's name. `rules.replace(field=value)` changes a copy; `repr(rules)` prints what a record holds.

| field | values | default | what it decides |
|---|---|---|---|
"""


def descriptions() -> dict[str, str]:
    """What the class's docstring says of each field."""
    text = cs.VenueRules.__doc__ or ""
    body = text.split("Parameters\n    ----------\n")[1].split("\n    Raises")[0]
    entries = re.split(r"\n    (?=\w+ : )", "\n" + body)
    found = {}
    for entry in entries[1:] if not entries[0].strip() else entries:
        head, *lines = entry.strip("\n").split("\n")
        found[head.split(" : ")[0].strip()] = " ".join(line.strip() for line in lines).strip()
    return found


def number_text(number) -> str:
    """What a numeric field takes, in words."""
    values = f"{'int' if number.whole else 'number'} >= {number.lowest}"
    values += f", <= {number.highest}" if number.highest < 2**31 - 1 else ""
    values += f" ({number.unit})" if number.unit else ""
    return values + (", None" if number.optional else "")


def page() -> str:
    rows = []
    said = descriptions()
    for field in dataclasses.fields(cs.VenueRules):
        if field.name in CHOICES:
            values = ", ".join(CHOICES[field.name])
        elif field.name in STAGES:
            values = "sequence of " + ", ".join(STAGES[field.name])
        elif field.name in FLAGS:
            values = "True, False"
        elif field.name in NUMBERS:
            values = number_text(NUMBERS[field.name])
        elif field.name == "breakers":
            values = "sequence of cs.PriceBand, cs.VelocityLogic, cs.MarketHalt"
        else:
            values = "a record"
        default = field.default
        shown = "(" + ", ".join(default) + ")" if isinstance(default, tuple) else str(default)
        rows.append(f"| {field.name} | {values} | {shown} | {said[field.name]} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(page(), end="")
