"""Build the compiled extensions. Switches (environment): CASCADE_DEBUG=1 bounds and overflow checks,
CASCADE_SANITIZE=1 address and undefined-behaviour sanitizers, CASCADE_COVERAGE=1 line tracing,
CASCADE_TESTING=1 the units' test wrappers."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup


def switched_on(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


debug = switched_on("CASCADE_DEBUG")
sanitize = switched_on("CASCADE_SANITIZE")
coverage = switched_on("CASCADE_COVERAGE")
# Test wrappers and planted bugs never reach a user's build.
testing = switched_on("CASCADE_TESTING")

compile_args = ["-O3"]
link_args: list[str] = []
macros: list[tuple[str, str | None]] = []
if sanitize:
    # Python's own flags carry -fwrapv, which would hide signed overflow.
    sanitizers = "-fsanitize=address,undefined"
    compile_args = ["-O1", "-g", sanitizers, "-fno-sanitize-recover=undefined", "-fno-wrapv"]
    link_args = [sanitizers]
if coverage:
    macros += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
if testing:
    macros += [("CASCADE_TESTING", "1")]

directives = {
    "language_level": 3,
    "boundscheck": debug,
    "wraparound": debug,
    "initializedcheck": debug,
    "overflowcheck": False,
    "cdivision": True,
    "freethreading_compatible": True,
    "linetrace": coverage,
    "show_performance_hints": True,
    "embedsignature": True,
}

extensions = [
    Extension(
        f"cascade.{name}",
        [f"cascade/{name}.pyx"],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        define_macros=macros,
    )
    for name in ["_core", "_arrow", "_bulk", "_index"] + (["_testing"] if testing else [])
]

setup(ext_modules=cythonize(extensions, build_dir="build/cython", compiler_directives=directives))
