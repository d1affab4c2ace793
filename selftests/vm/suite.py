# SPDX-License-Identifier: GPL-2.0
"""Suites: folders with a kselftest Makefile, and the programs in them."""
import os
import subprocess

from . import image
from .image import BUILD, TOP, SetupError

SELFTESTS = os.path.join(TOP, "selftests")


class Suite:
    def __init__(self, name):
        self.name = name
        self.path = os.path.join(SELFTESTS, name)
        self.settings = {"timeout": "300", "where": "host"}
        settings = os.path.join(self.path, "settings")
        if os.path.exists(settings):
            with open(settings, encoding="utf-8") as f:
                for line in f:
                    key, found, value = line.split("#")[0].strip().partition("=")
                    if found:
                        self.settings[key.strip()] = value.strip()
        self.alone = self.settings["where"] == "alone"
        self.below = self.settings["where"] == "below" or self.alone
        # In check-all, or when it is asked for.
        self.seldom = self.settings.get("check") == "no"
        self.timeout = int(self.settings["timeout"]) or 86400
        self.timeout *= image.patience(os.environ.get("KERNEL"))

    def programs(self):
        """(name, path) of each; kselftest's lib.mk lists them."""
        output = os.path.join(BUILD, "selftests", self.name)
        ksft = os.path.join(BUILD, "kernel/source/tools/testing/selftests")
        done = subprocess.run(
            ["make", "-s", "-C", self.path, "emit_tests", f"COLLECTION={self.name}",
             f"OUTPUT={output}", f"KSFT={ksft}"],
            capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupError(f"{self.name}: make emit_tests: {done.stderr}")
        for line in done.stdout.splitlines():
            suite, found, name = line.partition(":")
            if found and suite == self.name:
                built = os.path.join(output, name)
                yield name, built if os.path.exists(built) else os.path.join(self.path, name)


def wanted(name, program, filters):
    stem = os.path.splitext(program)[0]
    return not filters or any(
        each in (name, f"{name}/{program}", f"{name}/{stem}") for each in filters)


def programs(filters):
    """(suite, name, path) of all that the filters ask for."""
    for name in sorted(os.listdir(SELFTESTS)):
        if os.path.exists(os.path.join(SELFTESTS, name, "Makefile")):
            suite = Suite(name)
            yield from ((suite, program, path) for program, path in suite.programs()
                        if wanted(name, program, filters))
