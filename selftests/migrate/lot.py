# SPDX-License-Identifier: GPL-2.0
"""Which of its tests a program runs: in check-all every one, in check some, by lot.

What the lot falls on differs from run to run, so that nothing is left out for good;
MF_SEED, which is printed, has the same ones drawn again.
"""
import os

# How often is tried what is random; what is not, is tried more than once for nothing.
REPEAT = int(os.environ.get("MF_REPEAT", "1"))


def draw(random, number, tests):
    """So many of the tests, in their order; all of them if REPEAT is above 1."""
    tests = list(tests)
    if REPEAT > 1:
        return tests
    left = sorted(random.sample(range(len(tests)), number))
    return [tests[at] for at in left]


def case(name, *args):
    """Marks a method that is a test, called with a twin and args.

    Several marks make it several tests.
    """
    def mark(function):
        function.cases = [(name, args), *getattr(function, "cases", [])]
        return function
    return mark


def cases(program):
    """(name, method, args) of all that are marked in the program's class, in their order."""
    return [(name, getattr(program, method), args)
            for method, function in vars(type(program)).items()
            for name, args in getattr(function, "cases", [])]
