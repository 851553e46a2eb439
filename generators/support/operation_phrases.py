"""How operations on biographies are asked for."""

from typing import Literal

from generators.templates import ATTRIBUTES

Operation = Literal["dual", "day", "year", "modulo", "comparison", "subtraction", "inverse"]
#: one token a word; a slot holds values, or the name of one of the two people
PHRASES: dict[Operation, str] = {
    "dual": "What is the {first} and the {second} of {one} ? Answer:",
    "day": "What is the birth-day of {one} ? Answer:",
    "year": "What is the birth-year of {one} ? Answer:",
    "modulo": "What is the birth-month of {one} modulo {modulus} ? Answer:",
    "comparison": "Was {one} born in a later month than {other} ? Answer:",
    "subtraction": "What is the birth-month of {one} minus the birth-month of {other} ? Answer:",
    "inverse": "Who has {clues} ? Answer:",
}
LUCK_PHRASES: dict[Operation, str] = {
    "modulo": "What is the luck of the major of {one} modulo {modulus} ? Answer:",
    "comparison": "Is the major of {one} luckier than the major of {other} ? Answer:",
    "subtraction": "What is the luck of the major of {one} minus that of {other} ? Answer:",
}
FIELDS = tuple(name.replace("_", "-") for name in ATTRIBUTES)
MONTHS = 12
