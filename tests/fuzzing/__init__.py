"""Untrusted input: damaged bundles and audio files by the million; not collected by pytest.

::

    pip install atheris                          # 3.0.0 was used, with Python 3.11 on x86-64
    python -m tests.fuzzing.bundles 10000000     # 50 minutes; coverage-guided
    python -m tests.fuzzing.audio 100000         # 4 minutes; libsndfile can't be instrumented

Each input must end in a value or in an OticError of one line. Anything else is a
finding: the input is kept in the folder that ``--keep`` names, and the exit code is 1.
`tests/system/test_untrusted.py` sends a few thousand through the same functions.
"""
